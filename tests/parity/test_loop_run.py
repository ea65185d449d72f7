"""run_forever, run_until_complete, stop, and what the loop says of itself.

Runs on asyncio and on loopx, on the main thread.
"""

import asyncio
import gc
import inspect
import threading
import time
import weakref

import pytest

from tests.support.loops import run_once


def skip_if_a_refused_run_does_harm(loop_kind):
    """Some 3.13 releases of asyncio take a refused nested run for the end of the outer one."""
    source = inspect.getsource(asyncio.BaseEventLoop.run_forever)
    if loop_kind == "asyncio" and 0 < source.find("try:") < source.find("_run_forever_setup"):
        pytest.skip("this asyncio forgets that it runs when it refuses to run again")


def test_a_new_loop_is_an_idle_asyncio_loop(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert not loop.is_running()
    assert not loop.is_closed()
    assert not loop.get_debug()


def test_repr_tells_the_state(loop):
    assert "running=False closed=False debug=False" in repr(loop)
    seen = []
    loop.call_soon(lambda: seen.append(repr(loop)))
    loop.set_debug(True)
    run_once(loop)
    assert "running=True closed=False debug=True" in seen[0]
    loop.set_debug(False)
    loop.close()
    assert "running=False closed=True" in repr(loop)


def test_is_running_and_the_running_loop_inside_and_outside(loop):
    seen = []
    loop.call_soon(lambda: seen.append((loop.is_running(), asyncio.get_running_loop() is loop)))
    run_once(loop)
    assert seen == [(True, True)]
    assert not loop.is_running()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_run_until_complete_returns_the_result(loop):
    async def answer():
        await asyncio.sleep(0)
        return 42

    assert loop.run_until_complete(answer()) == 42


def test_run_until_complete_of_a_future_and_of_an_awaitable(loop):
    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    future = loop.create_future()
    loop.call_soon(future.set_result, "set")
    assert loop.run_until_complete(future) == "set"
    assert loop.run_until_complete(Awaitable()) == "awaited"


def test_run_until_complete_of_a_done_future(loop):
    future = loop.create_future()
    future.set_result(7)
    assert loop.run_until_complete(future) == 7
    assert loop.run_until_complete(future) == 7


def test_run_until_complete_raises_what_was_raised(loop):
    async def fail():
        raise ZeroDivisionError("from the coroutine")

    with pytest.raises(ZeroDivisionError, match="from the coroutine"):
        loop.run_until_complete(fail())
    assert not loop.is_running()


def test_run_until_complete_of_a_cancelled_task(loop):
    async def wait():
        await loop.create_future()

    task = loop.create_task(wait())
    loop.call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_run_until_complete_refuses_what_cannot_be_awaited(loop):
    with pytest.raises(TypeError):
        loop.run_until_complete(42)
    with pytest.raises(TypeError):
        loop.run_until_complete(lambda: None)


def test_run_until_complete_refuses_a_future_of_another_loop(loop, loop_factory):
    other = loop_factory()
    try:
        future = other.create_future()
        with pytest.raises(ValueError, match="belong"):
            loop.run_until_complete(future)
        other.call_soon(future.set_result, None)
        other.run_until_complete(future)
    finally:
        other.close()


def test_stopping_before_completion_is_an_error(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed"):
        loop.run_until_complete(future)
    future.cancel()


def test_a_loop_whose_run_failed_leaves_nothing_on_the_future(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError):
        loop.run_until_complete(future)
    # Were the callback that stops the loop still there, completing the future would stop this.
    seen = []
    loop.call_soon(future.set_result, None)
    loop.call_later(0.01, seen.append, "timer")
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert seen == ["timer"]


def test_stop_before_run_forever_runs_one_turn(loop):
    seen = []
    loop.stop()
    loop.call_soon(seen.append, 1)
    loop.call_soon(loop.call_soon, seen.append, 2)
    loop.run_forever()
    assert seen == [1]
    run_once(loop)
    assert seen == [1, 2]


def test_stop_finishes_the_turn_and_no_more(loop):
    seen = []

    def first():
        loop.stop()
        loop.call_soon(seen.append, "added")
        seen.append("first")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    loop.run_forever()
    assert seen == ["first", "second"]
    run_once(loop)
    assert seen == ["first", "second", "added"]


def test_stop_twice_is_stop_once(loop):
    loop.call_soon(loop.stop)
    loop.call_soon(loop.stop)
    loop.run_forever()
    seen = []
    loop.call_soon(lambda: loop.call_soon(lambda: (seen.append("ran"), loop.stop())))
    loop.run_forever()
    assert seen == ["ran"]


def test_a_loop_can_be_run_many_times(loop):
    async def double(number):
        await asyncio.sleep(0)
        return 2 * number

    assert [loop.run_until_complete(double(n)) for n in range(200)] == list(range(0, 400, 2))


def test_a_running_loop_cannot_be_run_again(loop, loop_kind):
    skip_if_a_refused_run_does_harm(loop_kind)

    async def nested():
        for run in (loop.run_forever, lambda: loop.run_until_complete(loop.create_future())):
            with pytest.raises(RuntimeError, match="already running"):
                run()
        return "still runs"

    assert loop.run_until_complete(nested()) == "still runs"


def test_two_loops_cannot_run_inside_each_other(loop, loop_factory, loop_kind):
    skip_if_a_refused_run_does_harm(loop_kind)

    async def nested():
        other = loop_factory()
        try:
            with pytest.raises(RuntimeError, match="while another loop is running"):
                other.run_forever()
            assert not other.is_running()
        finally:
            other.close()
        return asyncio.get_running_loop() is loop

    assert loop.run_until_complete(nested())


def test_a_running_loop_cannot_be_run_by_another_thread(loop, loop_kind):
    skip_if_a_refused_run_does_harm(loop_kind)
    failures = []

    def run():
        try:
            loop.run_forever()
        except RuntimeError as failure:
            failures.append(str(failure))

    async def main():
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert len(failures) == 1 and "already running" in failures[0]


def test_time_is_monotonic_and_in_seconds(loop):
    before = time.monotonic()
    now = loop.time()
    after = time.monotonic()
    assert before <= now <= after
    assert isinstance(now, float)


def test_time_goes_on_within_a_callback(loop):
    seen = []

    def look():
        start_s = loop.time()
        while loop.time() - start_s < 0.002:
            pass
        seen.append(loop.time() - start_s)

    loop.call_soon(look)
    run_once(loop)
    assert seen[0] >= 0.002


def test_create_future_belongs_to_the_loop(loop):
    future = loop.create_future()
    assert asyncio.isfuture(future)
    assert future.get_loop() is loop
    loop.call_soon(future.set_exception, KeyError("key"))
    with pytest.raises(KeyError):
        loop.run_until_complete(future)


def test_what_ran_is_let_go(loop):
    class Big:
        pass

    big = Big()
    alive = weakref.ref(big)
    loop.call_soon(lambda thing: None, big)
    loop.call_later(0, lambda thing: None, big)
    loop.call_soon_threadsafe(lambda thing: None, big)
    loop.call_later(0.005, loop.stop)
    del big
    loop.run_forever()
    gc.collect()
    assert alive() is None


def test_asyncio_runner_with_the_factory(loop_factory):
    async def main():
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        used = runner.run(main())
        assert used is runner.get_loop()
        assert runner.run(main()) is used
    assert used.is_closed()
