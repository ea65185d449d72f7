"""The threads of name lookups: how many, for what, and how they end.

Owns: a pool of its own on a loop that runs in the test's thread.
Thread: the test's own; jobs run in the pool's threads.
Must not: ask a name server.
"""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from tests.support.loops import require_loopx
from tests.support.net import run
from tests.support.threads import HAS_GIL

require_loopx()

import loopx  # noqa: E402
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
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    pool.submit(future, func)
    return future


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
        late = submit(pool, lambda: called.append(True))
        running = busy[0]
        late.cancel()
        running.cancel()
        go.set()
        await asyncio.wait([*busy, late])
        assert late.cancelled() and running.cancelled()
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
