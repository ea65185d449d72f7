"""Tests of the control plane in loopx/ring/: making rings, probing, refusals.

They need a kernel with io_uring.  Holds no code.
"""
