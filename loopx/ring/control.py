"""Control plane of a ring: set-up, registration, limits, teardown (liburing through cffi).

Owns: the memory of `struct io_uring`, the ring's descriptor and mappings, its registered slot and
the memory of provided buffer rings.  The data plane (ring.pxd) works on the same struct by
`address` and must stop before `close()`.  A ring belongs to the thread that made it
(SINGLE_ISSUER): everything but `close()` and `abandon()` is called there.  Nothing here is per
operation, and nothing probes: making and closing a ring is what a test suite does 10,000 times.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING

from loopx._liburing import ffi, lib
from loopx.ring.limits import KERNEL_NEEDED, explain, read_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from loopx._liburing import _CData

# By number, since liburing 2.3's header lacks them: io_uring_enter(2), <linux/io_uring.h>.
ENTER_REGISTERED_RING = 1 << 4  # Linux 5.18
ENTER_NO_IOWAIT = 1 << 7  # Linux 6.15: an idle loop does not count as iowait
FEATURE_NO_IOWAIT = 1 << 17  # Linux 6.15

ENTRIES_MIN = 8
# Of RLIMIT_MEMLOCK a closed ring's memory is given back some time later, and it is counted by user:
# who makes and closes loops in a row, or is started again, meets ENOMEM that goes away by waiting.
RETRY_SECONDS = 0.001
PATIENCE_SECONDS = 0.3
# Kernel worker threads, those for regular files and those for everything else. Loops submit nothing
# that needs one, and only a few kinds of file would; but the kernel's own bound is RLIMIT_NPROC,
# and every thread more is memory and a place in the control group's pids.max. What finds all of
# them busy waits its turn, and can still be cancelled.
WORKERS_MAX = 4
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_ALWAYS = lib.IORING_SETUP_CQSIZE | lib.IORING_SETUP_CLAMP
# The best first. Each is refused as a whole (EINVAL) by kernels that do not know one of its flags.
LADDER = (
    # Linux 6.1: completions are worked off only when this thread asks, which is once a turn.
    _ALWAYS
    | lib.IORING_SETUP_SINGLE_ISSUER
    | lib.IORING_SETUP_DEFER_TASKRUN
    | lib.IORING_SETUP_TASKRUN_FLAG,
    # Linux 5.19: no interrupt of this thread for a completion.
    _ALWAYS | lib.IORING_SETUP_COOP_TASKRUN | lib.IORING_SETUP_TASKRUN_FLAG,
    _ALWAYS,
)
# The rung that worked last, where the next ring starts; written by any thread, always valid.
_rung = 0
# Whether this process has had a ring; a forked child inherits the answer.
_available = False


def _resolve_all() -> None:
    """Have cffi make every function and type now, in the one thread that imports.

    It makes them when first asked for, and before release 2.0 (free-threaded 3.13 has no later
    one) under the GIL alone: threads that made a process's first rings at once mixed up types, or
    crashed. Takes 0.1 ms.
    """
    for name in dir(lib):
        getattr(lib, name)
    for name in ("uintptr_t", "unsigned int[2]"):
        ffi.typeof(name)
    for name in ffi.list_types()[1]:
        _ = ffi.typeof(f"struct {name} *").item.fields


_resolve_all()


class _ThreadSlots:
    """Identity of a thread of a process, and the ring slots that it still has to give back.

    The kernel has 16 slots for registered rings a thread. Only the thread itself can free one;
    when a ring is closed elsewhere, its slot (and with it the kernel's ring) would stay until the
    thread ends, so it is left here for the thread's next ring to free.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.left_behind: list[int] = []


class _PerThread(threading.local):
    slots: _ThreadSlots | None = None


_per_thread = _PerThread()


def _thread_slots(pid: int) -> _ThreadSlots:
    """Those of the calling thread. A thread id would not do: ids are used again."""
    slots = _per_thread.slots
    if slots is None or slots.pid != pid:
        slots = _per_thread.slots = _ThreadSlots(pid)
    return slots


def _patiently(call: Callable[..., int], *arguments: object) -> int:
    """What `call` returns, minus ENOMEM only if it still does when the patience has ended."""
    patience_ends = time.monotonic() + PATIENCE_SECONDS
    while True:
        result = call(*arguments)
        if result != -errno.ENOMEM or time.monotonic() >= patience_ends:
            return result
        time.sleep(RETRY_SECONDS)


class RingControl:
    """A ring, made on the thread that will use it. With it the thread's kernel workers are bounded,
    for every ring that the thread has.

    `entries` and `cq_entries` (at least `entries`) are rounded up to powers of two by the kernel,
    clamped to its maximum, and halved down to 8 while it lacks memory.

    Raises EngineUnavailable with cause and remedy when there can be no ring.
    Sources: io_uring_setup(2), io_uring_register(2), io_uring_enter(2).
    """

    __slots__ = (
        "address",  # of the struct io_uring, for the data plane
        "cq_entries",
        "enter_fd",  # what io_uring_enter takes: the registered slot, else the descriptor
        "enter_flags",  # flags that every io_uring_enter of this ring carries
        "fd",  # the descriptor; -1 once closed
        "features",  # IORING_FEAT_ bits
        "setup_flags",  # IORING_SETUP_ bits of the rung that worked
        "sq_entries",
        "_buffer_rings",
        "_owner",
        "_ring",
        "_slot",
        "__weakref__",
    )

    def __init__(self, entries: int, cq_entries: int) -> None:
        self.fd = -1  # so that __del__ works whatever fails below
        self._ring = ffi.new("struct io_uring *")
        params = ffi.new("struct io_uring_params *")
        self._set_up(params, entries, cq_entries)
        self.fd = self._ring.ring_fd
        self.address = int(ffi.cast("uintptr_t", self._ring))
        self.setup_flags: int = params.flags
        self.features: int = params.features
        self.sq_entries: int = params.sq_entries
        self.cq_entries: int = params.cq_entries
        self.enter_fd = self.fd
        self.enter_flags = ENTER_NO_IOWAIT if self.features & FEATURE_NO_IOWAIT else 0
        self._buffer_rings: list[tuple[_CData, int]] = []
        self._slot = -1
        self._owner = _thread_slots(os.getpid())
        # A child that wrote to the mappings would write to the parent's ring. liburing fails
        # here only for mappings that do not exist.
        lib.io_uring_ring_dontfork(self._ring)
        self._take_slot()
        try:
            self.limit_workers(WORKERS_MAX, WORKERS_MAX)
        except OSError:
            pass  # a filter's doing; nothing that works depends on it

    def _set_up(self, params: _CData, entries: int, cq_entries: int) -> None:
        global _rung
        rung = _rung
        patience_ends = time.monotonic() + PATIENCE_SECONDS
        while True:
            params.flags = LADDER[rung]
            params.cq_entries = cq_entries
            code = -lib.io_uring_queue_init_params(entries, self._ring, params)
            if code == 0:
                _rung = rung
                return
            if code == errno.EINVAL and rung + 1 < len(LADDER):
                rung += 1
            elif code == errno.ENOMEM and time.monotonic() < patience_ends:
                time.sleep(RETRY_SECONDS)
            elif code == errno.ENOMEM and entries > ENTRIES_MIN:
                entries = max(ENTRIES_MIN, entries // 2)
                cq_entries = max(entries, cq_entries // 2)
            else:
                raise explain(code)

    def _take_slot(self) -> None:
        """Register the descriptor with the kernel (5.18): an enter is then a fifth cheaper."""
        left_behind = self._owner.left_behind
        while left_behind:
            lib.loopx_unregister_ring_fd(self.fd, left_behind.pop())
        slot: int = lib.loopx_register_ring_fd(self.fd)
        # With all 16 slots of the thread taken (EBUSY), the descriptor serves as well.
        if slot >= 0:
            self._slot = self.enter_fd = slot
            self.enter_flags |= ENTER_REGISTERED_RING

    def register_buffer_ring(self, entries: int, group: int) -> int:
        """Make a ring of provided buffers, empty, and return the address of its
        `struct io_uring_buf_ring`; close() frees it. Linux 5.19.

        `entries` is a power of two up to 32,768, `group` the buffer group's number, unused so far.
        Raises OSError (EINVAL, EEXIST), EngineUnavailable for want of memory.
        """
        length = entries * lib.LOOPX_BUF_BYTES
        pages_bytes = max(1, -(-length // PAGE_BYTES)) * PAGE_BYTES
        pages = lib.loopx_map_pages(pages_bytes)
        if pages == ffi.NULL:
            raise explain(ffi.errno)
        registration = ffi.new("struct io_uring_buf_reg *")
        registration.ring_addr = address = int(ffi.cast("uintptr_t", pages))
        registration.ring_entries = entries
        registration.bgid = group
        code = -_patiently(lib.io_uring_register_buf_ring, self._ring, registration, 0)
        if code != 0:
            lib.loopx_unmap_pages(pages, pages_bytes)
            if code == errno.ENOMEM:
                raise explain(code)
            raise OSError(code, f"cannot register buffer ring {group}: {os.strerror(code)}")
        self._buffer_rings.append((pages, pages_bytes))
        return address

    def limit_workers(self, bounded: int, unbounded: int) -> tuple[int, int]:
        """Set how many kernel worker threads may block in regular files (`bounded`) and in
        everything else (`unbounded`) for the calling thread's rings; 0 leaves a limit as it is.
        Returns the limits from before. About 0.9 us. Linux 5.15. Raises OSError.
        """
        values = ffi.new("unsigned int[2]", (bounded, unbounded))
        code = -lib.io_uring_register_iowq_max_workers(self._ring, values)
        if code != 0:
            raise OSError(code, f"cannot limit kernel workers: {os.strerror(code)}")
        return values[0], values[1]

    def close(self) -> None:
        """Tear the ring down, with its buffer rings; again does nothing. Any thread may close.

        The kernel cancels what is in flight, but some time later: whoever lent it memory must
        have seen the last completions first.
        """
        if self.fd < 0:
            return
        pid = os.getpid()
        if pid != self._owner.pid:
            self.abandon()
            return
        if self._slot >= 0:
            if _per_thread.slots is self._owner:
                lib.loopx_unregister_ring_fd(self.fd, self._slot)
            else:
                self._owner.left_behind.append(self._slot)
        self._forget()
        lib.io_uring_queue_exit(self._ring)
        # The kernel has the pages pinned until its side is gone, so unmapping here is safe.
        while self._buffer_rings:
            lib.loopx_unmap_pages(*self._buffer_rings.pop())

    def abandon(self) -> None:
        """Let go in a forked child: close the inherited descriptor, leave the parent's ring be.

        No mapping is touched: the child has none of them, and something else may be there.
        """
        fd = self.fd
        if fd < 0:
            return
        self._forget()
        self._buffer_rings.clear()
        # A child may have closed all descriptors, and the number be another file's by now.
        try:
            if os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[io_uring]":
                os.close(fd)
        except OSError:
            pass

    def _forget(self) -> None:
        self.fd = self.enter_fd = self._slot = -1
        self.address = 0

    def __del__(self) -> None:
        if self.fd >= 0:
            self.close()


def ensure_available() -> None:
    """Raise EngineUnavailable unless this process can have rings; cheap after the first success.

    A failure is not remembered, as limits may be raised. Called when a loop is made, so that the
    error comes there and not at the first operation.
    """
    global _available
    if _available:
        return
    params = ffi.new("struct io_uring_params *")
    params.flags = LADDER[0]
    params.cq_entries = 2 * ENTRIES_MIN
    fd = _patiently(lib.loopx_setup, ENTRIES_MIN, params)
    if fd < 0:
        limits = read_limits()
        # On a kernel that is new enough, RingControl's ladder has another rung to try.
        if -fd != errno.EINVAL or limits.kernel_version < KERNEL_NEEDED:
            raise explain(-fd, limits)
        RingControl(ENTRIES_MIN, 2 * ENTRIES_MIN).close()
    else:
        os.close(fd)
    _available = True
