"""Tests of the benchmarks: what is not measured right must be an error, never a figure.

Owns nothing.  They need two cores, a C compiler or wrk, and are skipped where that is missing.
"""
