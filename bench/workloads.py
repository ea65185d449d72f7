"""What is counted in instructions: small workloads that run in one process on one loop.

``python -m bench.workloads --loop NAME --kinds A,B --marks LIBRARY`` is what ``bench.instructions``
runs under callgrind; without marks it is what a compiler's profile is taken of (``make wheel``).
Owns the workloads and the marks around them. Each is an asynchronous context manager that sets up,
yields a coroutine function that does exactly so many operations, and takes down; those on
connections are in ``bench.echo_pairs``. Nothing here looks at the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from bench.echo_pairs import (
    BufferedEnd,
    Operate,
    SocketIntoEnd,
    aiohttp_hello,
    protocol_echo,
    socket_echo,
    streams_echo,
)
from bench.loops import LOOPS, new_event_loop

BATCH = 100
FAR_SECONDS = 3_600.0

Workload = Callable[[], AbstractAsyncContextManager[Operate]]


def without_setup(operate: Operate) -> Workload:
    """Return a workload that needs nothing but the running loop."""

    @asynccontextmanager
    async def workload() -> AsyncIterator[Operate]:
        yield operate

    return workload


class Walk:
    """Plain Python without a loop: it tells one build of the interpreter from another."""

    def __init__(self) -> None:
        self.steps: dict[int, bytes] = {}

    def step(self, number: int) -> int:
        self.steps[number % 16] = b"%d" % number
        return number + len(self.steps)


async def walk(count: int) -> None:
    """Call a method that formats, stores and adds."""
    walk = Walk()
    total = 0
    for number in range(count):
        total += walk.step(number)


async def call_soon(count: int) -> None:
    """A callback that schedules itself again: one a turn."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    loop.call_soon(step)
    await done


async def sleep_zero(count: int) -> None:
    """``await asyncio.sleep(0)`` in one task."""
    for _ in range(count):
        await asyncio.sleep(0)


async def timers(count: int) -> None:
    """Make a timer and cancel it, 100 a turn: a loop's own clearing up is counted too."""
    call_later = asyncio.get_running_loop().call_later
    for _ in range(count // BATCH):
        for _ in range(BATCH):
            call_later(FAR_SECONDS, print).cancel()
        await asyncio.sleep(0)


async def futures(count: int) -> None:
    """A task awaits a future that a callback of the next turn completes."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future


async def tasks(count: int) -> None:
    """``gather`` of 100 coroutines that each sleep(0) once; per task."""
    for _ in range(count // BATCH):
        await asyncio.gather(*[asyncio.sleep(0) for _ in range(BATCH)])


async def threadsafe(count: int) -> None:
    """call_soon_threadsafe from the loop's own thread, 100 a turn."""
    loop = asyncio.get_running_loop()
    call = loop.call_soon_threadsafe
    for _ in range(count // BATCH):
        done = loop.create_future()
        for _ in range(BATCH - 1):
            call(int)
        call(done.set_result, None)
        await done


CALIBRATION = "python"
# What is counted, and how many operations at least: twice as many are counted as well. They are
# whole batches, and the same number for each end of a connection.
WORKLOADS: dict[str, tuple[Workload, int]] = {
    CALIBRATION: (without_setup(walk), 1_000),
    "call-soon": (without_setup(call_soon), 1_000),
    "sleep-0": (without_setup(sleep_zero), 1_000),
    "timer": (without_setup(timers), 1_000),
    "future": (without_setup(futures), 1_000),
    "task": (without_setup(tasks), 1_000),
    "threadsafe": (without_setup(threadsafe), 1_000),
    "echo-1": (partial(protocol_echo, 1), 512),
    "echo-64": (partial(protocol_echo, 64), 1_280),
    "buffered-64": (partial(protocol_echo, 64, BufferedEnd), 1_280),
    "streams-64": (partial(streams_echo, 64), 1_280),
    "sock-64": (partial(socket_echo, 64), 1_280),
    "sock-into-64": (partial(socket_echo, 64, SocketIntoEnd), 1_280),
    "tls-16": (partial(protocol_echo, 16, tls=True), 640),
    "aiohttp-16": (partial(aiohttp_hello, 16), 320),
}


async def count_workload(kind: str, marks: ctypes.CDLL | None) -> dict[str, int]:
    """Run one workload between marks, N operations and 2N; return both numbers of operations.

    Nothing is collected meanwhile: when a collection comes depends on all that was made before.
    """
    workload, count = WORKLOADS[kind]
    figures: dict[str, int] = {}
    async with workload() as operate:
        await operate(count)
        gc.collect()
        for operations in (count, 2 * count):
            before = counters()
            if marks is not None:
                marks.counting_begins()
            await operate(operations)
            if marks is not None:
                marks.counting_ends(f"{kind}:{operations}".encode())
            figures |= {f"{name}:{operations}": counters()[name] - before[name] for name in before}
    return {"operations": count} | figures


def counters() -> dict[str, int]:
    """Return what the running loop counts itself: loopx does."""
    stats = getattr(asyncio.get_running_loop(), "stats", None)
    counted = stats() if stats is not None else {}
    return {name: counted[name] for name in ("turns", "system_calls") if name in counted}


def run_workloads() -> None:
    """Run workloads, each on a loop of its own; print what was done as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.workloads", description=run_workloads.__doc__
    )
    parser.add_argument("--loop", required=True, choices=LOOPS)
    parser.add_argument("--kinds", default=",".join(WORKLOADS), metavar="A,B")
    parser.add_argument("--marks", help="the library that tells callgrind")
    arguments = parser.parse_args()
    marks = ctypes.CDLL(arguments.marks) if arguments.marks else None
    gc.disable()
    done = {}
    for kind in arguments.kinds.split(","):
        loop = new_event_loop(arguments.loop)
        asyncio.set_event_loop(loop)
        done[kind] = loop.run_until_complete(count_workload(kind, marks))
        loop.close()
    print(json.dumps(done))


if __name__ == "__main__":
    run_workloads()
