"""run_in_executor, the default executor and its end.

Runs on asyncio and on loopx; the work runs on the executor's threads.
"""

import asyncio
import concurrent.futures
import contextvars
import multiprocessing
import sys
import threading
import time

import pytest

from tests.support.loops import run_once
from tests.support.net import run

PLACE = contextvars.ContextVar("PLACE", default="nowhere")


def add(left, right):
    return left + right


def fail():
    raise ZeroDivisionError("in the executor")


def test_work_runs_on_another_thread_and_its_result_comes_back(loop):
    async def main():
        ident = await loop.run_in_executor(None, threading.get_ident)
        assert ident != threading.get_ident()
        return await loop.run_in_executor(None, add, 1, 2)

    assert run(loop, main()) == 3


def test_the_result_is_a_future_of_the_loop(loop):
    async def main():
        future = loop.run_in_executor(None, add, 1, 2)
        assert asyncio.isfuture(future) and future.get_loop() is loop
        return await future

    assert run(loop, main()) == 3


def test_an_exception_comes_back(loop):
    async def main():
        with pytest.raises(ZeroDivisionError, match="in the executor"):
            await loop.run_in_executor(None, fail)

    run(loop, main())


def test_a_result_wakes_a_waiting_loop(loop):
    async def main():
        started_s = loop.time()
        await loop.run_in_executor(None, time.sleep, 0.01)
        return loop.time() - started_s

    assert 0.01 <= run(loop, main()) < 5


def test_a_given_executor_is_used_and_not_shut_down(loop):
    with concurrent.futures.ThreadPoolExecutor(1, "mine") as pool:

        async def main():
            return await loop.run_in_executor(pool, lambda: threading.current_thread().name)

        assert run(loop, main()).startswith("mine")
        loop.close()
        assert pool.submit(add, 1, 1).result() == 2


def test_the_default_executor_can_be_set(loop):
    pool = concurrent.futures.ThreadPoolExecutor(1, "default")
    loop.set_default_executor(pool)

    async def main():
        return await loop.run_in_executor(None, lambda: threading.current_thread().name)

    assert run(loop, main()).startswith("default")
    run(loop, loop.shutdown_default_executor())
    with pytest.raises(RuntimeError):
        pool.submit(add, 1, 1)


def test_the_default_executor_must_be_a_pool_of_threads(loop):
    with pytest.raises(TypeError, match="ThreadPoolExecutor"):
        loop.set_default_executor(object())
    with pytest.raises(TypeError, match="ThreadPoolExecutor"):
        loop.set_default_executor(None)


def test_many_jobs(loop):
    async def main():
        return await asyncio.gather(
            *(loop.run_in_executor(None, add, number, 1) for number in range(300))
        )

    assert run(loop, main()) == list(range(1, 301))


def test_cancelling_the_future_of_a_job(loop):
    release = threading.Event()

    async def main():
        future = loop.run_in_executor(None, release.wait, 20)
        await asyncio.sleep(0)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        release.set()
        # The thread's result has nowhere to go, and must not disturb.
        return await loop.run_in_executor(None, add, 1, 2)

    assert run(loop, main()) == 3


def test_shutdown_waits_for_the_threads(loop):
    started, done = threading.Event(), []

    def work():
        started.set()
        time.sleep(0.05)
        done.append("done")

    async def main():
        future = loop.run_in_executor(None, work)
        await loop.run_in_executor(None, started.wait)
        await loop.shutdown_default_executor()
        assert done == ["done"]
        await future

    run(loop, main())


def test_shutdown_without_an_executor_and_twice(loop):
    run(loop, loop.shutdown_default_executor())
    run(loop, loop.shutdown_default_executor())


def test_after_the_shutdown_no_more_jobs(loop):
    async def main():
        await loop.run_in_executor(None, add, 1, 2)
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="shutdown"):
            loop.run_in_executor(None, add, 1, 2)

    run(loop, main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio of 3.12.1 waits all the same")
def test_shutdown_gives_up_after_its_timeout(loop):
    release = threading.Event()

    async def main():
        future = loop.run_in_executor(None, release.wait, 20)
        with pytest.warns(RuntimeWarning, match="did not finish"):
            await loop.shutdown_default_executor(timeout=0.05)
        release.set()
        return await future

    assert run(loop, main()) is True


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has the timeout since 3.12")
def test_shutdown_within_its_timeout(loop):
    async def main():
        await loop.run_in_executor(None, add, 1, 2)
        await loop.shutdown_default_executor(timeout=10)

    run(loop, main())


def test_close_does_not_wait_for_the_threads(loop_factory):
    loop = loop_factory()
    release = threading.Event()
    future = loop.run_in_executor(None, release.wait, 20)
    run_once(loop)
    started_s = time.monotonic()
    loop.close()
    assert time.monotonic() - started_s < 5
    release.set()
    assert not future.done()


def test_a_job_that_ends_after_the_loop_was_closed(loop_factory):
    """Its result is for a loop that is no more: nothing may break, whichever thread notices."""
    loop = loop_factory()
    release, ended = threading.Event(), threading.Event()

    def work():
        release.wait(20)
        ended.set()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = loop.run_in_executor(pool, work)
        run_once(loop)
        loop.close()
        release.set()
        assert ended.wait(20)
    assert not future.done()


def test_coroutines_are_refused_in_debug_mode(loop):
    async def coroutine():
        pass

    loop.set_debug(True)
    with pytest.raises(TypeError, match="coroutine"):
        loop.run_in_executor(None, coroutine)


def test_what_cannot_be_called_is_refused_in_debug_mode(loop):
    loop.set_debug(True)
    with pytest.raises(TypeError):
        loop.run_in_executor(None, 42)


def test_to_thread_takes_the_context_along(loop):
    async def main():
        PLACE.set("in the task")
        return await asyncio.to_thread(PLACE.get)

    assert run(loop, main()) == "in the task"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_pool(loop):
    # Not 'spawn' or 'forkserver': they leave a helper process and its pipe for later.
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:

        async def main():
            assert await loop.run_in_executor(pool, add, 20, 22) == 42
            with pytest.raises(ZeroDivisionError):
                await loop.run_in_executor(pool, fail)

        run(loop, main())
