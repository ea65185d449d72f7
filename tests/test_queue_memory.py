"""The memory of a ready queue that was very long, as the C library counts it.

Owns: one loop. Thread: the main thread.
"""

import ctypes

import pytest

from tests.support.loops import make_loop, require_loopx, run_once
from tests.support.sanitizers import UNDER_ASAN

require_loopx()

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class Mallinfo2(ctypes.Structure):
    """mallinfo2(3)."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]


def bytes_in_use():
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        pytest.skip("this libc does not tell")
    mallinfo2.restype = Mallinfo2
    info = mallinfo2()
    return info.uordblks + info.hblkhd


@pytest.mark.skipif(UNDER_ASAN, reason="the address sanitizer keeps its own books")
def test_memory_of_a_long_queue_is_given_back():
    loop = make_loop("loopx")
    before = bytes_in_use()
    for _ in range(1_000_000):
        loop.call_soon(int)
    assert bytes_in_use() - before >= 8_000_000
    run_once(loop)
    assert bytes_in_use() - before < 4_000_000
    loop.close()
