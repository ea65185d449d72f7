"""Micro-benchmarks of a loop in one process: nanoseconds an operation.

``python -m bench.micro --loop NAME --bench NAME`` runs one benchmark in a fresh process and prints
JSON: the samples and the best of them. Each benchmark counts what it did and raises if the loop
did less. Functions here take a loop that is not running and return (seconds, operations).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time

from bench.loops import LOOPS, new_event_loop
from bench.options import at_least
from bench.processes import resident_bytes

Sample = tuple[float, int]

REPEATS = 5
REPEATS_SECONDS = 5.0
CHAIN_LENGTH = 100_000
BATCH_LENGTH = 100_000
TIMERS = 50_000
TIMERS_PER_TURN = 1_000
PENDING_TIMERS = 50_000
GATHERED_TASKS = 20_000
THREADSAFE_CALLS = 20_000
LOOP_CYCLES = 200
LOOPS_MADE = 1_000
FAR_SECONDS = 3_600.0
LOOKUPS = 2_000
LOOKUPS_AT_ONCE = 6_400
LOOKING_UP = 64
CHILD_OUTPUT_MIB = 128
CHILD_READ_BYTES = 65_536
CLOSE_TIMERS = 2_000
CLOSE_TIMERS_AFTER_SECONDS = 0.05
CLOSE_TIMERS_APART_SECONDS = 0.0001

pending_timers: list[asyncio.TimerHandle] = []


class Counter:
    """Counts calls, and stops the loop at the last one that is expected."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expected: int) -> None:
        self.loop = loop
        self.expected = expected
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.expected:
            self.loop.stop()

    def check(self) -> None:
        """Raise if the loop made fewer or more calls than expected."""
        if self.calls != self.expected:
            raise RuntimeError(f"{self.calls} callbacks ran, expected {self.expected}")


def call_soon_chain(loop: asyncio.AbstractEventLoop) -> Sample:
    """A callback that schedules itself again: one callback a turn."""
    left = CHAIN_LENGTH

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            loop.stop()

    loop.call_soon(step)
    began = perf_counter()
    loop.run_forever()
    return perf_counter() - began, CHAIN_LENGTH


def call_soon_batch(loop: asyncio.AbstractEventLoop) -> Sample:
    """100,000 callbacks scheduled at once, then run in one turn; both parts are timed."""
    counter = Counter(loop, BATCH_LENGTH)
    call_soon = loop.call_soon
    began = perf_counter()
    for _ in range(BATCH_LENGTH):
        call_soon(counter)
    loop.run_forever()
    seconds = perf_counter() - began
    counter.check()
    return seconds, BATCH_LENGTH


async def make_and_cancel_timers(loop: asyncio.AbstractEventLoop) -> float:
    """Make and cancel timers, 1,000 a turn, so that the loop's own clearing up is timed too."""
    call_later = loop.call_later
    began = perf_counter()
    for _ in range(TIMERS // TIMERS_PER_TURN):
        for _ in range(TIMERS_PER_TURN):
            call_later(FAR_SECONDS, print).cancel()
        await asyncio.sleep(0)
    return perf_counter() - began


def call_later_cancel(loop: asyncio.AbstractEventLoop) -> Sample:
    """call_later, then cancel, with no other timer pending."""
    return loop.run_until_complete(make_and_cancel_timers(loop)), TIMERS


def call_later_cancel_pending(loop: asyncio.AbstractEventLoop) -> Sample:
    """call_later, then cancel, while 50,000 other timers are pending, half of them due later."""
    if not pending_timers:  # made by the warm-up; they stay until the process ends
        for index in range(PENDING_TIMERS):
            delay = FAR_SECONDS / 2 + index * FAR_SECONDS / PENDING_TIMERS
            pending_timers.append(loop.call_later(delay, print))
    return loop.run_until_complete(make_and_cancel_timers(loop)), TIMERS


def timers_close(loop: asyncio.AbstractEventLoop) -> Sample:
    """CPU time of timers that are due 100 us after each other, each once.

    They are made before the clock is looked at. It is CPU time, as the loop mostly sleeps.
    """
    counter = Counter(loop, CLOSE_TIMERS)
    begin = loop.time() + CLOSE_TIMERS_AFTER_SECONDS
    for number in range(CLOSE_TIMERS):
        loop.call_at(begin + number * CLOSE_TIMERS_APART_SECONDS, counter)
    began = process_time()
    loop.run_forever()
    seconds = process_time() - began
    counter.check()
    return seconds, CLOSE_TIMERS


async def sleep_zero_times(count: int) -> None:
    """Await sleep(0) ``count`` times."""
    for _ in range(count):
        await asyncio.sleep(0)


def sleep_zero(loop: asyncio.AbstractEventLoop) -> Sample:
    """``await asyncio.sleep(0)`` in one task."""
    count = 100_000
    began = perf_counter()
    loop.run_until_complete(sleep_zero_times(count))
    return perf_counter() - began, count


def future_wakeup(loop: asyncio.AbstractEventLoop) -> Sample:
    """A task awaits a future that a callback of the next turn completes."""
    count = 50_000

    async def wait() -> None:
        for _ in range(count):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

    began = perf_counter()
    loop.run_until_complete(wait())
    return perf_counter() - began, count


def gather_tasks(loop: asyncio.AbstractEventLoop) -> Sample:
    """``gather`` of 20,000 coroutines that each sleep(0) once; per task."""

    async def child() -> int:
        await asyncio.sleep(0)
        return 1

    async def gather_all() -> int:
        return sum(await asyncio.gather(*[child() for _ in range(GATHERED_TASKS)]))

    began = perf_counter()
    done = loop.run_until_complete(gather_all())
    seconds = perf_counter() - began
    if done != GATHERED_TASKS:
        raise RuntimeError(f"{done} tasks ran, expected {GATHERED_TASKS}")
    return seconds, GATHERED_TASKS


def threadsafe_own_thread(loop: asyncio.AbstractEventLoop) -> Sample:
    """call_soon_threadsafe from the loop's own thread, 20,000 in one turn, run in the next."""
    counter = Counter(loop, THREADSAFE_CALLS)

    def schedule() -> None:
        call = loop.call_soon_threadsafe
        for _ in range(THREADSAFE_CALLS):
            call(counter)

    loop.call_soon(schedule)
    began = perf_counter()
    loop.run_forever()
    seconds = perf_counter() - began
    counter.check()
    return seconds, THREADSAFE_CALLS


def threadsafe_other_thread(loop: asyncio.AbstractEventLoop) -> Sample:
    """call_soon_threadsafe from a second thread while the loop waits and runs."""
    counter = Counter(loop, THREADSAFE_CALLS)

    def schedule() -> None:
        call = loop.call_soon_threadsafe
        for _ in range(THREADSAFE_CALLS):
            call(counter)

    thread = threading.Thread(target=schedule)
    loop.call_soon(thread.start)
    began = perf_counter()
    loop.run_forever()
    seconds = perf_counter() - began
    thread.join()
    counter.check()
    return seconds, THREADSAFE_CALLS


def lookups(loop: asyncio.AbstractEventLoop) -> Sample:
    """``getaddrinfo`` of a name that needs no server, one after the other."""

    async def look_up() -> None:
        for _ in range(LOOKUPS):
            if not await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM):
                raise RuntimeError("localhost has no address")

    began = perf_counter()
    loop.run_until_complete(look_up())
    return perf_counter() - began, LOOKUPS


def lookups_at_once(loop: asyncio.AbstractEventLoop) -> Sample:
    """The same by 64 tasks."""

    async def look_up_all() -> None:
        counts = await asyncio.gather(*(look_up() for _ in range(LOOKING_UP)))
        if sum(counts) < LOOKUPS_AT_ONCE:
            raise RuntimeError("localhost has no address")

    async def look_up() -> int:
        return sum(
            [
                bool(await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))
                for _ in range(LOOKUPS_AT_ONCE // LOOKING_UP)
            ]
        )

    began = perf_counter()
    loop.run_until_complete(look_up_all())
    return perf_counter() - began, LOOKUPS_AT_ONCE


def child_output(loop: asyncio.AbstractEventLoop) -> Sample:
    """The output of a child that writes as fast as it can, read by a StreamReader; a MiB."""

    async def read_all(path: str) -> int:
        child = await asyncio.create_subprocess_exec("cat", path, stdout=asyncio.subprocess.PIPE)
        assert child.stdout is not None
        read_bytes = 0
        while data := await child.stdout.read(CHILD_READ_BYTES):
            read_bytes += len(data)
        if await child.wait():
            raise RuntimeError(f"cat ended with {child.returncode}")
        return read_bytes

    with tempfile.NamedTemporaryFile(prefix="bench-") as file:
        file.write(bytes(CHILD_OUTPUT_MIB << 20))
        file.flush()
        began = perf_counter()
        read_bytes = loop.run_until_complete(read_all(file.name))
        seconds = perf_counter() - began
    if read_bytes != CHILD_OUTPUT_MIB << 20:
        raise RuntimeError(f"{read_bytes} bytes were read of {CHILD_OUTPUT_MIB} MiB")
    return seconds, CHILD_OUTPUT_MIB


def loop_cycle(name: str) -> Sample:
    """Make a loop, run ``sleep(0)`` on it once, close it."""
    began = perf_counter()
    for _ in range(LOOP_CYCLES):
        loop = new_event_loop(name)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    return perf_counter() - began, LOOP_CYCLES


BENCHES: dict[str, Callable[[asyncio.AbstractEventLoop], Sample]] = {
    "call-soon-chain": call_soon_chain,
    "call-soon-batch": call_soon_batch,
    "call-later-cancel": call_later_cancel,
    "call-later-cancel-50000": call_later_cancel_pending,
    "timers-10000-a-second": timers_close,
    "sleep-0": sleep_zero,
    "future-wakeup": future_wakeup,
    "gather-20000": gather_tasks,
    "threadsafe-own-thread": threadsafe_own_thread,
    "threadsafe-other-thread": threadsafe_other_thread,
    "lookup-localhost": lookups,
    "lookup-localhost-64": lookups_at_once,
    "child-output-mib": child_output,
}
WITH_BOTH_CORES = (
    "threadsafe-other-thread",
    "lookup-localhost",
    "lookup-localhost-64",
    "child-output-mib",
)
CYCLE_BENCH = "loop-cycle"
MADE_BENCH = "loop-made"
ALL_BENCHES = (*BENCHES, CYCLE_BENCH, MADE_BENCH)


def time_bench(run: Callable[[], Sample], repeats: int = REPEATS) -> dict[str, object]:
    """Run once to warm up, then up to ``repeats`` times; return all figures and the best, in ns.

    A loop that is very slow here is not measured REPEATS times: it ends at REPEATS_SECONDS.
    """
    run()
    began = perf_counter()
    samples_ns: list[float] = []
    while len(samples_ns) < repeats and (
        repeats > REPEATS or perf_counter() - began < REPEATS_SECONDS
    ):
        gc.collect()
        seconds, operations = run()
        samples_ns.append(seconds * 1e9 / operations)
    return {"best_ns": min(samples_ns), "samples_ns": samples_ns}


def memory_of_loops(name: str) -> dict[str, object]:
    """Make 1,000 loops and keep them; return the growth of resident memory, KiB for each."""
    kept = [new_event_loop(name) for _ in range(3)]  # what is made once is not counted
    gc.collect()
    before = resident_bytes()
    kept += [new_event_loop(name) for _ in range(LOOPS_MADE)]
    gc.collect()
    grown = resident_bytes() - before
    for loop in kept:
        loop.close()
    return {"resident_kib": grown / 1024 / LOOPS_MADE}


def main() -> int:
    """Run one benchmark on one loop and print its figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.micro", description=main.__doc__)
    parser.add_argument("--loop", required=True, choices=LOOPS)
    parser.add_argument("--bench", required=True, choices=ALL_BENCHES)
    parser.add_argument("--repeats", type=at_least(1), default=REPEATS)
    arguments = parser.parse_args()
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    if arguments.bench == MADE_BENCH:
        figures = memory_of_loops(arguments.loop)
    elif arguments.bench == CYCLE_BENCH:
        figures = time_bench(partial(loop_cycle, arguments.loop), arguments.repeats)
    else:
        loop = new_event_loop(arguments.loop)
        asyncio.set_event_loop(loop)
        figures = time_bench(partial(BENCHES[arguments.bench], loop), arguments.repeats)
        loop.close()
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
