"""Helpers that several tests share: loops by kind, leak checks, scripts, threads, echo servers.

Nothing here is a test and nothing here may import a test.  Holds no code.
"""
