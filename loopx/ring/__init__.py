"""The ring layer: the one place that knows io_uring's and liburing's types.

Owns: the control plane in Python (`control`: set-up, registration, teardown; `features`: probe and
report) and the data plane in Cython (the .pxd files here).  It must not import anything of loopx
but `loopx.errors` and `loopx._liburing`: the layers above talk to the ring, never the reverse.
"""
