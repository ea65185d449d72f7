"""RingControl on the real kernel: what it makes, what it gives back, threads and forks.

Children are forked or started where the test changes the process for good (limits, user).
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loopx._liburing import lib
from loopx.errors import EngineUnavailable
from loopx.ring import control
from loopx.ring.control import (
    ENTER_NO_IOWAIT,
    ENTER_REGISTERED_RING,
    WORKERS_MAX,
    RingControl,
)
from tests.support.children import output_of

IO_URING_ENTER = 426
GETEVENTS = 1
RING_SLOTS_OF_A_THREAD = 16  # IO_RINGFD_REG_MAX in the kernel

# The time limit of each test has a watchdog thread, which is safe to fork beside.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def ring() -> Iterator[RingControl]:
    made = RingControl(64, 256)
    yield made
    made.close()


def enter(ring: RingControl) -> int:
    """io_uring_enter with what the control plane tells the data plane; 0 or minus errno."""
    flags = ring.enter_flags | GETEVENTS
    done: int = libc.syscall(IO_URING_ENTER, ring.enter_fd, 0, 0, flags, None, 0)
    return done if done >= 0 else -ctypes.get_errno()


def ring_descriptors() -> list[str]:
    """The descriptors of this process that are rings."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[io_uring]":
                found.append(name)
        except FileNotFoundError:  # the descriptor that listed the folder
            continue
    return found


def mapped_at(address: int) -> bool:
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= address < last:
            return True
    return False


def in_forked_child(check: Callable[[], bool]) -> int:
    """The exit status of a child that runs `check`: 0 for true, 1 for false, 2 for an error."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_thread(work: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def test_a_ring_has_the_sizes_asked_for_and_can_be_entered(ring: RingControl) -> None:
    assert (ring.sq_entries, ring.cq_entries) == (64, 256)
    assert ring.address % 8 == 0 and ring.address > 0
    assert os.readlink(f"/proc/self/fd/{ring.fd}") == "anon_inode:[io_uring]"
    assert enter(ring) == 0


def test_this_kernel_gets_the_best_rung(ring: RingControl) -> None:
    assert ring.setup_flags & control.LADDER[0] == control.LADDER[0]


def test_enter_flags_follow_the_feature_bits(ring: RingControl) -> None:
    offered = bool(ring.features & control.FEATURE_NO_IOWAIT)
    assert bool(ring.enter_flags & ENTER_NO_IOWAIT) == offered


def test_sizes_are_clamped_to_the_kernels_maximum() -> None:
    ring = RingControl(1 << 20, 1 << 21)
    assert (ring.sq_entries, ring.cq_entries) == (32768, 65536)
    ring.close()


def test_close_gives_back_the_descriptor_and_may_be_repeated(ring: RingControl) -> None:
    fd = ring.fd
    ring.close()
    assert ring.fd == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    # The number may be somebody else's by now; a second close must not touch it.
    again = os.open("/dev/null", os.O_RDONLY)
    try:
        ring.close()
        os.fstat(again)
    finally:
        os.close(again)


def test_a_forgotten_ring_is_closed() -> None:
    before = ring_descriptors()
    RingControl(8, 16)
    gc.collect()
    assert ring_descriptors() == before


def test_a_thousand_rings_leave_nothing_behind() -> None:
    def memory_pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[0])

    def cycle(count: int) -> None:
        for _ in range(count):
            ring = RingControl(64, 256)
            ring.register_buffer_ring(64, 0)
            ring.close()

    cycle(50)
    pages, descriptors = memory_pages(), ring_descriptors()
    cycle(1000)
    # One ring leaked a time would be at least 3,000 pages.
    assert memory_pages() - pages < 500
    assert ring_descriptors() == descriptors


def test_buffer_rings_are_page_aligned_and_freed_by_close(ring: RingControl) -> None:
    addresses = [ring.register_buffer_ring(8, 0), ring.register_buffer_ring(4096, 1)]
    assert all(address % control.PAGE_BYTES == 0 and mapped_at(address) for address in addresses)
    assert mapped_at(addresses[1] + 4096 * 16 - 1)
    ring.close()
    # The first page of 4,096 buffers' ring is not reused by so small a process at once.
    assert not mapped_at(addresses[1])


def test_a_buffer_group_is_registered_once(ring: RingControl) -> None:
    ring.register_buffer_ring(8, 3)
    with pytest.raises(OSError, match="cannot register buffer ring 3") as caught:
        ring.register_buffer_ring(8, 3)
    assert caught.value.errno == errno.EEXIST


def test_a_buffer_ring_needs_a_power_of_two(ring: RingControl) -> None:
    with pytest.raises(OSError) as caught:
        ring.register_buffer_ring(12, 0)
    assert caught.value.errno == errno.EINVAL


def test_the_kernels_workers_are_few() -> None:
    def work() -> None:
        ring = RingControl(8, 16)
        assert ring.limit_workers(0, 0) == (WORKERS_MAX, WORKERS_MAX)
        ring.close()

    in_thread(work)


def test_worker_limits_are_set_and_told() -> None:
    def work() -> None:  # the limits are the thread's
        ring = RingControl(8, 16)
        ring.limit_workers(3, 5)
        assert ring.limit_workers(0, 0) == (3, 5)
        ring.close()

    in_thread(work)


def test_a_rung_that_the_kernel_refuses_is_left_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = control.LADDER[0] & ~lib.IORING_SETUP_SINGLE_ISSUER  # EINVAL by itself
    monkeypatch.setattr(control, "LADDER", (refused, *control.LADDER[1:]))
    monkeypatch.setattr(control, "_rung", 0)
    for _ in range(2):
        ring = RingControl(8, 16)
        assert ring.setup_flags & control.LADDER[1] == control.LADDER[1]
        assert not ring.setup_flags & lib.IORING_SETUP_DEFER_TASKRUN
        assert enter(ring) == 0
        ring.close()
        assert control._rung == 1


def test_the_ladder_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = control.LADDER[0] & ~lib.IORING_SETUP_SINGLE_ISSUER
    monkeypatch.setattr(control, "LADDER", (refused, refused))
    monkeypatch.setattr(control, "_rung", 0)
    with pytest.raises(EngineUnavailable, match="EINVAL") as caught:
        RingControl(8, 16)
    assert caught.value.errno == errno.EINVAL


def test_more_rings_than_slots_in_one_thread() -> None:
    def work() -> None:
        rings = [RingControl(8, 16) for _ in range(RING_SLOTS_OF_A_THREAD + 2)]
        registered = [bool(ring.enter_flags & ENTER_REGISTERED_RING) for ring in rings]
        assert registered == [True] * RING_SLOTS_OF_A_THREAD + [False] * 2
        assert [enter(ring) for ring in rings] == [0] * len(rings)
        for ring in rings:
            ring.close()

    in_thread(work)


def test_rings_closed_by_another_thread_give_their_slots_back() -> None:
    def work() -> None:
        kept = RingControl(8, 16)
        for _ in range(2 * RING_SLOTS_OF_A_THREAD):
            ring = RingControl(8, 16)
            assert ring.enter_flags & ENTER_REGISTERED_RING
            in_thread(ring.close)
            assert ring.fd == -1
        assert enter(kept) == 0
        kept.close()

    in_thread(work)


def test_closing_another_threads_ring_leaves_this_threads_slots_alone() -> None:
    theirs: list[RingControl] = []

    def make() -> None:
        theirs.append(RingControl(8, 16))

    def close_theirs() -> None:
        mine = RingControl(8, 16)
        assert mine.enter_fd == theirs[0].enter_fd  # slot 0 of either thread
        theirs[0].close()
        assert enter(mine) == 0
        mine.close()

    in_thread(make)
    in_thread(close_theirs)


def test_a_forked_child_abandons_and_the_parents_ring_goes_on(ring: RingControl) -> None:
    buffers = ring.register_buffer_ring(8, 0)
    fd = ring.fd

    def child() -> bool:
        inherited = not mapped_at(buffers)
        ring.close()
        gone = not ring_descriptors()
        own = RingControl(8, 16)
        works = enter(own) == 0
        own.close()
        return inherited and gone and works

    assert in_forked_child(child) == 0
    assert ring.fd == fd and mapped_at(buffers)
    assert enter(ring) == 0
    ring.register_buffer_ring(8, 1)


def test_a_forked_child_leaves_a_number_that_is_no_ring_alone(ring: RingControl) -> None:
    def child() -> bool:
        other = os.open("/dev/null", os.O_RDONLY)
        os.dup2(other, ring.fd)
        fd = ring.fd
        ring.abandon()
        return os.readlink(f"/proc/self/fd/{fd}") == "/dev/null" and ring.fd == -1

    assert in_forked_child(child) == 0
    assert enter(ring) == 0


def test_the_ring_is_not_mapped_in_a_forked_child(ring: RingControl) -> None:
    def ring_mappings() -> int:
        return Path("/proc/self/maps").read_text().count("anon_inode:[io_uring]")

    assert ring_mappings() >= 1
    assert in_forked_child(lambda: ring_mappings() == 0) == 0


def test_entries_are_halved_while_memory_lacks() -> None:
    # 32,768 entries want 3 MB of address space.
    sizes = output_of(
        """
        import resource
        from loopx.ring.control import RingControl
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20),) * 2)
        ring = RingControl(32768, 65536)
        print(ring.sq_entries, ring.cq_entries)
        ring.close()
        """
    )[0].split()
    entries, completions = map(int, sizes)
    assert 1024 <= entries < 32768
    assert completions == 2 * entries
