"""Tests that run on asyncio's own loop and on loopx, and must pass on both.

What asyncio does is the specification here: a test that asyncio's loop fails is wrong.  Holds no
code; the fixtures are in conftest.py.
"""
