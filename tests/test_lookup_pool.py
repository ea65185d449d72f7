"""The threads of name lookups: how many, for what, and how they end.

Owns: a pool of its own on a loop that runs in the test's thread; how queries get there and back.
Thread: the test's own; jobs run in the pool's threads.
Must not: ask a name server.
"""

import asyncio
import gc
import socket
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator

import pytest

from tests.support.loops import require_loopx
from tests.support.net import run
from tests.support.threads import HAS_GIL

require_loopx()

import loopx  # noqa: E402
from loopx._core import Lookup  # noqa: E402
from loopx.lookup_pool import LookupPool  # noqa: E402

THREADS_MAX = 3


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = loopx.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def pool() -> Iterator[LookupPool]:
    made = LookupPool(THREADS_MAX)
    yield made
    made.shutdown(wait=True)


def submit(pool: LookupPool, func: Callable[[], object]) -> asyncio.Future[object]:
    return call(pool, func).future


def call(pool: LookupPool, func: Callable[[], object]) -> Lookup:
    return pool.call(running_loop(), func)


def query(pool: LookupPool, host: bytes | None, service: bytes | None, flags: int = 0) -> Lookup:
    return pool.query(running_loop(), host, service, (0, socket.SOCK_STREAM, 0, flags))


def running_loop() -> loopx.Loop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, loopx.Loop)
    return loop


def pool_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("loopx-lookup")]


def all_end() -> bool:
    deadline = time.monotonic() + 5
    while pool_threads() and time.monotonic() < deadline:
        gc.collect()               # without a GIL what another thread made waits for that
        time.sleep(0.01)
    return not pool_threads()


def test_one_thread_does_one_after_another(
    loop: asyncio.AbstractEventLoop, pool: LookupPool
) -> None:
    async def main() -> None:
        names = {await submit(pool, lambda: threading.current_thread().name) for _ in range(20)}
        assert names == {"loopx-lookup_0"}

    run(loop, main())


def test_no_more_threads_than_allowed_and_all_is_done(
    loop: asyncio.AbstractEventLoop, pool: LookupPool
) -> None:
    async def main() -> None:
        go = threading.Event()
        futures = [submit(pool, go.wait) for _ in range(10)]
        await asyncio.sleep(0.05)
        assert len(pool_threads()) == THREADS_MAX
        go.set()
        assert await asyncio.gather(*futures) == [True] * 10

    run(loop, main())


@pytest.mark.parametrize("kind", [OSError, SystemExit, UnicodeError])
def test_an_exception_comes_back(
    loop: asyncio.AbstractEventLoop, pool: LookupPool, kind: type[BaseException]
) -> None:
    def fail() -> None:
        raise kind("no")

    async def main() -> None:
        future = submit(pool, fail)
        await asyncio.wait([future])
        error = future.exception()
        assert type(error) is kind and error.args == ("no",)

    run(loop, main())


@pytest.mark.skipif(not HAS_GIL, reason="there it is let go when its thread does something again")
def test_an_exception_is_in_no_cycle(loop: asyncio.AbstractEventLoop, pool: LookupPool) -> None:
    """It would keep what its frames refer to until the collector comes."""

    class Refusal(Exception):
        pass

    def fail() -> None:
        raise Refusal

    async def main() -> weakref.ref[BaseException]:
        future = submit(pool, fail)
        await asyncio.wait([future])
        error = future.exception()
        assert isinstance(error, Refusal)
        return weakref.ref(error)

    gc.collect()
    gc.disable()
    try:
        refused = run(loop, main())
        deadline = time.monotonic() + 5        # the thread lets it go when it gets to that
        while refused() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert refused() is None
    finally:
        gc.enable()


def test_what_is_cancelled_before_it_began_is_not_called(
    loop: asyncio.AbstractEventLoop, pool: LookupPool
) -> None:
    called = []

    async def main() -> None:
        go = threading.Event()
        busy = [submit(pool, go.wait) for _ in range(THREADS_MAX)]
        late = call(pool, lambda: called.append(True))
        running = busy[0]
        late.cancel()
        late.future.cancel()
        running.cancel()
        go.set()
        await asyncio.wait([*busy, late.future])
        assert late.future.cancelled() and running.cancelled()
        assert await submit(pool, lambda: 7) == 7      # all threads are free again
        assert called == []

    run(loop, main())


def test_a_job_that_ends_after_the_loop_was_closed(pool: LookupPool) -> None:
    loop = loopx.new_event_loop()
    go = threading.Event()

    async def main() -> None:
        submit(pool, go.wait)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    loop.close()
    go.set()
    pool.shutdown(wait=True)
    assert all_end()


def test_threads_end_with_a_pool_that_nobody_shut_down(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        pool = LookupPool(THREADS_MAX)
        await asyncio.gather(*(submit(pool, lambda: time.sleep(0.01)) for _ in range(5)))
        assert pool_threads()

    run(loop, main())
    assert all_end()


def test_without_a_thread_to_be_had(
    loop: asyncio.AbstractEventLoop, pool: LookupPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="start new thread"):
                submit(pool, int)
        go = threading.Event()
        first = submit(pool, go.wait)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            second = submit(pool, int)                 # the one that there is does it, later
        go.set()
        assert await asyncio.gather(first, second) == [True, 0]

    run(loop, main())


def test_lookups_of_a_loop_that_was_shut_down_are_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        assert await loop.getaddrinfo("localhost", 80)
        assert pool_threads()
        await loop.shutdown_default_executor()
        assert not pool_threads()
        with pytest.raises(RuntimeError, match="shutdown has been called"):
            await loop.getaddrinfo("localhost", 80)

    run(loop, main())


@pytest.mark.skipif(not HAS_GIL, reason="there nothing does")
def test_a_lookup_needs_no_gil(loop: asyncio.AbstractEventLoop) -> None:
    """It ends while the loop, which never sleeps, keeps the GIL."""

    async def main() -> None:
        assert await loop.getaddrinfo("localhost", 80)             # the thread is there now
        switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        try:
            lookup = loop.create_task(loop.getaddrinfo("localhost", 80))
            until = time.monotonic() + 5
            while not lookup.done() and time.monotonic() < until:
                await asyncio.sleep(0)
            assert lookup.done()
        finally:
            sys.setswitchinterval(switch_interval)
        assert await lookup

    run(loop, main())


@pytest.mark.parametrize("flags", [0, socket.AI_CANONNAME, socket.AI_PASSIVE], ids=int)
@pytest.mark.parametrize("service", [None, b"80", b"http"], ids=repr)
def test_a_query_is_answered_as_by_the_socket_module(
    loop: asyncio.AbstractEventLoop, pool: LookupPool, service: bytes | None, flags: int
) -> None:
    async def main() -> None:
        theirs = socket.getaddrinfo("localhost", service, type=socket.SOCK_STREAM, flags=flags)
        ours = await query(pool, b"localhost", service, flags).future
        assert ours == theirs
        kinds = [[type(part) for part in entry] for entry in theirs]
        assert [[type(part) for part in entry] for entry in ours] == kinds

    run(loop, main())


def test_a_query_is_refused_as_by_the_socket_module(
    loop: asyncio.AbstractEventLoop, pool: LookupPool
) -> None:
    async def main() -> None:
        for host, service in ((None, None), (b"1.2.3.256", b"80")):
            with pytest.raises(socket.gaierror) as theirs:
                socket.getaddrinfo(host, service, flags=socket.AI_NUMERICHOST)
            with pytest.raises(socket.gaierror) as ours:
                await query(pool, host, service, socket.AI_NUMERICHOST).future
            assert ours.value.args == theirs.value.args

    run(loop, main())


def test_idle_threads_all_wake_for_calls_that_wait(
    loop: asyncio.AbstractEventLoop, pool: LookupPool
) -> None:
    async def main() -> None:
        for _ in range(3):
            together = threading.Barrier(THREADS_MAX, timeout=10)
            await asyncio.gather(*(submit(pool, together.wait) for _ in range(THREADS_MAX)))
            await asyncio.sleep(0.01)                              # they are idle again

    run(loop, main())


def test_queries_and_calls_in_turn(loop: asyncio.AbstractEventLoop, pool: LookupPool) -> None:
    async def main() -> None:
        lookups = [
            query(pool, b"localhost", b"%d" % number) if number % 3 else call(pool, lambda: None)
            for number in range(300)
        ]
        found = await asyncio.gather(*(lookup.future for lookup in lookups))
        ports = [answer and answer[0][4][1] for answer in found]
        assert ports == [number if number % 3 else None for number in range(300)]

    run(loop, main())


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_loops_closed_in_the_middle_of_queries(turns: int) -> None:
    """Some are queued then, some in the threads, some on their way back, some over."""
    for _ in range(30):
        pool = LookupPool(THREADS_MAX)
        loop = loopx.new_event_loop()

        async def main(pool: LookupPool = pool) -> None:
            for _ in range(9):
                query(pool, b"localhost", b"80")
                call(pool, lambda: None)
            for _ in range(turns):
                await asyncio.sleep(0)

        loop.run_until_complete(main())
        pool.close()
        loop.close()
    del pool, loop, main
    assert all_end()


def test_a_closed_loop_is_not_kept_by_a_lookup_that_hangs(pool: LookupPool) -> None:
    """Nor is what was over and not told yet, or begun with what still waited for a thread."""
    go = threading.Event()
    begun = []

    def close_in_the_middle() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = loopx.new_event_loop()

        async def main() -> None:
            over = threading.Event()
            submit(pool, over.set)
            assert over.wait(5)
            time.sleep(0.05)                       # now its end is in the loop's inbox
            for _ in range(THREADS_MAX):
                submit(pool, go.wait)
            submit(pool, lambda: begun.append(True))

        loop.run_until_complete(main())
        pool.close()
        loop.close()
        return weakref.ref(loop)

    try:
        loop = close_in_the_middle()
        gc.collect()
        assert loop() is None
    finally:
        go.set()
    pool.shutdown(wait=True)
    assert begun == []


@pytest.mark.logs_errors  # of the task that was pending
def test_a_loop_that_nobody_closed_goes_away_after_its_lookups() -> None:
    def leave() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = loopx.new_event_loop()

        async def main() -> None:
            loop.create_task(loop.getaddrinfo("localhost", 80))
            await asyncio.sleep(0)

        loop.run_until_complete(main())
        return weakref.ref(loop)

    loop = leave()
    deadline = time.monotonic() + 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        while loop() is not None and time.monotonic() < deadline:
            gc.collect()
            time.sleep(0.01)
    assert loop() is None
