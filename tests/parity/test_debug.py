"""Debug mode: slow callbacks, origins of coroutines, where things were made, the switches.

Runs on asyncio and on loopx, on the main thread.  Calls from the wrong thread are in
test_threads.py.
"""

import asyncio
import gc
import logging
import socket
import sys
import time
import warnings

import pytest

from tests.support.loops import ExceptionRecorder, run_once, run_turns
from tests.support.scripts import run_script

SLOW_S = 0.02


def spin(duration_s=SLOW_S * 1.5):
    end_s = time.monotonic() + duration_s
    while time.monotonic() < end_s:
        pass


@pytest.fixture
def debug_loop(loop):
    loop.set_debug(True)
    loop.slow_callback_duration = SLOW_S
    yield loop
    loop.set_debug(False)


def slow_lines(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and "took" in record.getMessage()
    ]


def test_the_switch(loop):
    assert loop.get_debug() is False
    loop.set_debug(True)
    assert loop.get_debug() is True
    loop.set_debug(False)
    assert loop.get_debug() is False


def test_the_default_duration_is_a_tenth_of_a_second(loop):
    assert loop.slow_callback_duration == 0.1


@pytest.mark.parametrize("way", ["call_soon", "call_soon_threadsafe", "call_later"])
def test_a_slow_callback_is_logged_with_its_source(debug_loop, caplog, way):
    arguments = (0,) if way == "call_later" else ()
    getattr(debug_loop, way)(*arguments, spin)
    run_turns(debug_loop, 3)
    (line,) = slow_lines(caplog)
    assert line.startswith("Executing <")
    assert "spin" in line and "test_debug.py" in line and "created at" in line
    assert "seconds" in line


def test_a_slow_task_step_is_logged_with_the_task(debug_loop, caplog):
    async def slow_step():
        await asyncio.sleep(0)
        spin()

    debug_loop.run_until_complete(slow_step())
    (line,) = slow_lines(caplog)
    assert "Task" in line and "slow_step" in line


def test_a_slow_reader_is_logged(debug_loop, caplog):
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def slow_reader():
            ours.recv(1)
            spin()
            debug_loop.stop()

        debug_loop.add_reader(ours, slow_reader)
        theirs.send(b"x")
        debug_loop.run_forever()
        debug_loop.remove_reader(ours)
    (line,) = slow_lines(caplog)
    assert "slow_reader" in line


def test_quick_callbacks_are_not_logged(debug_loop, caplog):
    debug_loop.slow_callback_duration = 10
    debug_loop.call_soon(spin)
    run_once(debug_loop)
    assert slow_lines(caplog) == []


def test_nothing_is_logged_without_debug_mode(loop, caplog):
    loop.slow_callback_duration = 0.001
    loop.call_soon(spin)
    run_once(loop)
    assert slow_lines(caplog) == []


def test_a_slow_callback_that_fails_is_reported_too(debug_loop, caplog):
    recorder = ExceptionRecorder(debug_loop)

    def spin_and_fail():
        spin()
        raise ZeroDivisionError

    debug_loop.call_soon(spin_and_fail)
    run_once(debug_loop)
    assert len(slow_lines(caplog)) == 1
    assert isinstance(recorder.contexts[0]["exception"], ZeroDivisionError)


def test_a_failing_callback_tells_where_it_was_scheduled(debug_loop):
    recorder = ExceptionRecorder(debug_loop)

    def scheduled_from_here():
        debug_loop.call_soon(lambda: 1 / 0)

    scheduled_from_here()
    run_once(debug_loop)
    (context,) = recorder.contexts
    names = [frame.name for frame in context["source_traceback"]]
    assert names[-1] == "scheduled_from_here"


def test_the_log_of_a_failing_callback_shows_where_it_was_scheduled(debug_loop, caplog):
    debug_loop.call_soon(lambda: 1 / 0)
    run_once(debug_loop)
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "Object created at (most recent call last):" in errors[0]
    assert "test_the_log_of_a_failing_callback" in errors[0]


def test_a_pending_task_tells_where_it_was_made(debug_loop):
    recorder = ExceptionRecorder(debug_loop)

    async def wait():
        await asyncio.Future()

    debug_loop.create_task(wait())
    run_turns(debug_loop, 2)
    gc.collect()
    (context,) = recorder.contexts
    assert context["message"] == "Task was destroyed but it is pending!"
    source = context["source_traceback"]
    assert any(frame.name == "test_a_pending_task_tells_where_it_was_made" for frame in source)
    # The report revived the task; from 3.14 on all_tasks() knows of it until it is gone.
    del context
    recorder.contexts.clear()
    gc.collect()


def test_origins_of_coroutines_are_tracked_while_running(debug_loop):
    assert sys.get_coroutine_origin_tracking_depth() == 0
    seen = []
    debug_loop.call_soon(lambda: seen.append(sys.get_coroutine_origin_tracking_depth()))
    run_once(debug_loop)
    assert seen[0] > 0
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_switching_debug_while_running_switches_the_tracking(loop):
    async def main():
        depths = [sys.get_coroutine_origin_tracking_depth()]
        for enabled in (True, False):
            loop.set_debug(enabled)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            depths.append(sys.get_coroutine_origin_tracking_depth())
        return depths

    depths = loop.run_until_complete(main())
    assert depths[0] == 0 and depths[1] > 0 and depths[2] == 0


def test_the_depth_of_somebody_else_comes_back(debug_loop):
    sys.set_coroutine_origin_tracking_depth(3)
    try:
        run_once(debug_loop)
        assert sys.get_coroutine_origin_tracking_depth() == 3
    finally:
        sys.set_coroutine_origin_tracking_depth(0)


def test_a_coroutine_that_was_never_awaited_tells_its_origin(debug_loop):
    async def forgotten():
        pass

    def makes_and_forgets():
        forgotten()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        debug_loop.call_soon(makes_and_forgets)
        run_once(debug_loop)
        gc.collect()
    (message,) = [str(w.message) for w in caught if "never awaited" in str(w.message)]
    assert "forgotten" in message
    assert "Coroutine created at (most recent call last)" in message
    assert "makes_and_forgets" in message


def test_tasks_and_timers_work_as_ever(debug_loop):
    async def work(number):
        await asyncio.sleep(0.001 * number)
        return number

    async def main():
        return await asyncio.gather(*(work(number) for number in range(10)))

    debug_loop.slow_callback_duration = 10
    assert debug_loop.run_until_complete(main()) == list(range(10))


ASK = """
    loop = new_loop()
    print(loop.get_debug())
    loop.close()
"""


def test_the_environment_switches_it_on(loop_kind):
    assert run_script(loop_kind, ASK).stdout == "False\n"
    assert run_script(loop_kind, ASK, PYTHONASYNCIODEBUG="1").stdout == "True\n"
    assert run_script(loop_kind, ASK, "-X", "dev").stdout == "True\n"


def test_runner_sets_it(loop_factory):
    async def main():
        return asyncio.get_running_loop().get_debug()

    with asyncio.Runner(debug=True, loop_factory=loop_factory) as runner:
        assert runner.run(main()) is True
    with asyncio.Runner(debug=False, loop_factory=loop_factory) as runner:
        assert runner.run(main()) is False


@pytest.mark.parametrize("method", ["connection_made", "data_received"])
def test_a_slow_protocol_is_logged(debug_loop, caplog, method):
    class Slow(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            if method == "connection_made":
                spin()

        def data_received(self, data):
            if method == "data_received":
                spin()
            self.transport.close()

    async def main():
        server = await debug_loop.create_server(Slow, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x")
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    debug_loop.run_until_complete(main())
    assert slow_lines(caplog)
