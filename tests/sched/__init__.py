"""Tests of the structures in loopx/sched/, against plain Python models.

They need no kernel and no loop.  Holds no code.
"""
