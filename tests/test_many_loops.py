"""Ten thousand loops, one after the other: memory and descriptors stay flat.

Test suites make a loop for every test.  Runs on asyncio and on loopx, on the main thread.
"""

import asyncio
import gc
import socket
import warnings

import psutil
import pytest

from tests.support.leaks import live_objects, open_descriptors
from tests.support.loops import loop_factory, loop_kind, make_loop  # noqa: F401
from tests.support.net import only_on
from tests.support.recorders import Echo
from tests.support.threads import in_thread

LOOPS = 10_000
WARM_UP = 300
# A loop that lost 1 KiB each time would grow by 9.5 MiB.
GROWTH_BYTES = 4 << 20


def resident_bytes():
    return psutil.Process().memory_info().rss


async def nothing():
    await asyncio.sleep(0)


def make_run_close(kind):
    loop = make_loop(kind)
    loop.run_until_complete(nothing())
    loop.close()


def make_wait_close(kind):
    """Waiting for a descriptor is what a loop of ours makes its ring for."""
    loop = make_loop(kind)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as always_writable:
        loop.add_writer(always_writable, loop.stop)
        loop.run_forever()
        loop.remove_writer(always_writable)
    assert kind == "asyncio" or loop.stats()["enters"] > 0
    loop.close()


def make_close(kind):
    make_loop(kind).close()


def make_drop(kind):
    make_loop(kind)


def make_run_drop(kind):
    make_loop(kind).run_until_complete(nothing())


class Flat:
    """Takes the measure before and compares after: descriptors exactly, memory within bounds."""

    def __enter__(self):
        gc.collect()
        self.descriptors = open_descriptors()
        self.objects = live_objects()
        self.resident_bytes = resident_bytes()
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            gc.collect()
            assert open_descriptors() == self.descriptors
            assert live_objects() - self.objects == {}
            assert resident_bytes() - self.resident_bytes < GROWTH_BYTES


@pytest.mark.parametrize(
    "life", [make_run_close, make_wait_close, make_close], ids=lambda life: life.__name__
)
def test_ten_thousand_loops_closed(loop_kind, life):
    for _ in range(WARM_UP):
        life(loop_kind)
    with Flat():
        for _ in range(LOOPS):
            life(loop_kind)


class UnclosedLoops:
    """Counts the warnings; a list of them would keep the loops alive that they are about."""

    def __init__(self):
        self.count = 0

    def __call__(self, message, category, *where):
        assert category is ResourceWarning and "unclosed event loop" in str(message)
        self.count += 1


@only_on("loopx")
@pytest.mark.parametrize("life", [make_drop, make_run_drop], ids=lambda life: life.__name__)
def test_ten_thousand_loops_that_nobody_closed(loop_kind, life):
    """asyncio's loop fails in __del__ when the collector took its sockets before it."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = unclosed = UnclosedLoops()
        for _ in range(WARM_UP):
            life(loop_kind)
        gc.collect()
        unclosed.count = 0
        with Flat() as before:
            for number in range(1, LOOPS + 1):
                life(loop_kind)
                if number % 500 == 0:
                    # A loop that is part of a cycle waits for the collector.
                    gc.collect()
                    assert unclosed.count == number
                    assert len(open_descriptors()) == len(before.descriptors)


def test_loops_that_did_something(loop_kind):
    """Timers, a reader, a server with a connection, a wake-up: all of it goes with the loop."""

    async def main(loop):
        ours, theirs = socket.socketpair()
        loop.add_reader(ours, int)
        loop.call_later(1000, int)
        loop.call_soon_threadsafe(int)
        accepted = []
        server = await loop.create_server(
            lambda: accepted.append(Echo()) or accepted[-1], "127.0.0.1", 0
        )
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()
        await accepted[0].lost
        server.close()
        await server.wait_closed()
        loop.remove_reader(ours)
        ours.close()
        theirs.close()

    def life():
        loop = make_loop(loop_kind)
        loop.run_until_complete(main(loop))
        loop.close()

    for _ in range(20):
        life()
    with Flat():
        for _ in range(300):
            life()


def test_a_thousand_loops_each_on_its_own_thread(loop_kind):
    for _ in range(50):
        in_thread(make_run_close, loop_kind)
    with Flat():
        for _ in range(1000):
            in_thread(make_run_close, loop_kind)


def test_a_thousand_loops_at_once(loop_kind):
    make_run_close(loop_kind)
    with Flat():
        loops = [make_loop(loop_kind) for _ in range(1000)]
        try:
            for loop in loops[::100]:
                loop.run_until_complete(nothing())
        finally:
            for loop in loops:
                loop.close()
            del loop, loops


@only_on("loopx")
def test_a_loop_that_is_only_made_costs_little(loop_kind):
    """64 KiB at most, and no descriptor: rings and buffers are made when first needed."""
    count = 500
    make_run_close(loop_kind)
    gc.collect()
    before_bytes, before = resident_bytes(), open_descriptors()
    loops = [make_loop(loop_kind) for _ in range(count)]
    cost_bytes = (resident_bytes() - before_bytes) / count
    made = set(open_descriptors()) - set(before)
    for loop in loops:
        loop.close()
    assert cost_bytes <= 64 * 1024
    assert made == set()
