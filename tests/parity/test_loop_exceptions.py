"""Exceptions in callbacks, exception handlers, and what must not be caught.

Runs on asyncio and on loopx, on the main thread.
"""

import asyncio
import contextvars
import gc
import logging
import socket
import sys

import pytest

from tests.support.loops import ExceptionRecorder, run_once, run_turns

WHO = contextvars.ContextVar("WHO", default="nobody")


def fail(message="boom"):
    raise ZeroDivisionError(message)


def test_a_failing_callback_is_reported_and_the_rest_runs(loop):
    recorder = ExceptionRecorder(loop)
    seen = []
    loop.call_soon(seen.append, 1)
    handle = loop.call_soon(fail, "in the callback")
    loop.call_soon(seen.append, 2)
    run_once(loop)
    assert seen == [1, 2]
    (context,) = recorder.contexts
    assert "Exception in callback" in context["message"] and "fail" in context["message"]
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["handle"] is handle


@pytest.mark.parametrize("schedule", ["call_soon_threadsafe", "call_later", "call_at"])
def test_every_way_of_scheduling_reports(loop, schedule):
    recorder = ExceptionRecorder(loop)
    arguments = {"call_later": (0,), "call_at": (loop.time(),)}.get(schedule, ())
    getattr(loop, schedule)(*arguments, fail)
    run_turns(loop, 3)
    assert [type(context["exception"]) for context in recorder.contexts] == [ZeroDivisionError]


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_callback_that_cancels_its_own_handle_and_fails_is_reported(loop, count, debug):
    recorder = ExceptionRecorder(loop)

    def cancel_and_fail(*_):
        handle.cancel()
        fail()

    handle = loop.call_soon(cancel_and_fail, *[5] * count)
    loop.set_debug(debug)        # then arguments are shown, before Python 3.13 always
    run_once(loop)
    loop.set_debug(False)
    assert [type(context["exception"]) for context in recorder.contexts] == [ZeroDivisionError]


@pytest.mark.parametrize("schedule", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
def test_none_as_a_callback_is_reported(loop, schedule):
    recorder = ExceptionRecorder(loop)
    arguments = {"call_later": (0,), "call_at": (loop.time(),)}.get(schedule, ())
    handle = getattr(loop, schedule)(*arguments, None)
    cancelled = getattr(loop, schedule)(*arguments, None)
    cancelled.cancel()
    run_turns(loop, 3)
    (context,) = recorder.contexts
    assert isinstance(context["exception"], TypeError) and context["handle"] is handle


@pytest.mark.parametrize("context", [5, object()])
def test_what_is_no_context_is_reported(loop, context):
    recorder = ExceptionRecorder(loop)
    handle = loop.call_soon(fail, context=context)
    run_once(loop)
    (reported,) = recorder.contexts
    assert isinstance(reported["exception"], (AttributeError, TypeError))
    assert reported["handle"] is handle


def test_base_exceptions_other_than_the_two_are_reported(loop):
    class Odd(BaseException):
        pass

    def raise_odd():
        raise Odd

    recorder = ExceptionRecorder(loop)
    loop.call_soon(raise_odd)
    loop.call_soon(lambda: (_ for _ in ()).throw(GeneratorExit))
    run_once(loop)
    assert [type(context["exception"]) for context in recorder.contexts] == [Odd, GeneratorExit]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("schedule", ["call_soon", "call_soon_threadsafe", "call_later"])
def test_interrupt_and_exit_leave_the_loop(loop, kind, schedule):
    recorder = ExceptionRecorder(loop)
    seen = []

    def leave():
        raise kind("out")

    arguments = (0,) if schedule == "call_later" else ()
    getattr(loop, schedule)(*arguments, leave)
    loop.call_later(0.002, seen.append, "later")
    loop.call_later(0.004, loop.stop)
    with pytest.raises(kind, match="out"):
        loop.run_forever()
    assert not loop.is_running()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    # The loop goes on where it was left.
    loop.run_forever()
    assert seen == ["later"]
    assert recorder.contexts == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_the_rest_of_an_interrupted_turn_is_not_lost(loop, kind):
    seen = []

    def leave():
        raise kind

    loop.call_soon(seen.append, 1)
    loop.call_soon(leave)
    loop.call_soon(seen.append, 2)
    with pytest.raises(kind):
        loop.run_forever()
    assert seen == [1]
    run_once(loop)
    assert seen == [1, 2]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupt_out_of_a_reader(loop, kind):
    def leave():
        loop.remove_reader(ours)
        raise kind

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        loop.add_reader(ours, leave)
        theirs.send(b"x")
        with pytest.raises(kind):
            loop.run_forever()
        run_once(loop)
        assert ours.recv(1) == b"x"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupt_out_of_a_protocol(loop, kind):
    class Leaves(asyncio.Protocol):
        def data_received(self, data):
            raise kind

    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = loop.run_until_complete(loop.create_connection(Leaves, sock=ours))
        theirs.send(b"x")
        with pytest.raises(kind):
            loop.run_forever()
        transport.abort()
        run_turns(loop, 3)
        theirs.settimeout(5)
        assert theirs.recv(1) == b""


def test_interrupt_out_of_a_task(loop):
    async def leave():
        raise KeyboardInterrupt("from the task")

    with pytest.raises(KeyboardInterrupt, match="from the task"):
        loop.run_until_complete(leave())
    assert loop.run_until_complete(asyncio.sleep(0, "works on")) == "works on"


def test_the_default_handler_logs_with_traceback(loop, caplog):
    loop.call_soon(fail, "to be logged")
    with caplog.at_level(logging.ERROR, "asyncio"):
        run_once(loop)
    (record,) = caplog.records
    assert record.name == "asyncio" and record.levelno == logging.ERROR
    assert "Exception in callback fail(" in record.getMessage()
    assert record.exc_info[0] is ZeroDivisionError


def test_the_default_handler_prints_extra_keys_in_order(loop, caplog):
    loop.call_exception_handler({"message": "something", "zebra": 2, "apple": 1})
    lines = caplog.records[0].getMessage().splitlines()
    assert lines == ["something", "apple: 1", "zebra: 2"]


def test_the_default_handler_without_a_message(loop, caplog):
    loop.call_exception_handler({})
    assert "Unhandled exception in event loop" in caplog.records[0].getMessage()
    assert not caplog.records[0].exc_info


def test_set_get_and_reset_the_handler(loop, caplog):
    assert loop.get_exception_handler() is None
    recorder = ExceptionRecorder(loop)
    assert loop.get_exception_handler() is recorder
    loop.call_exception_handler({"message": "recorded"})
    assert recorder.messages == ["recorded"]
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    loop.call_exception_handler({"message": "logged"})
    assert [record.getMessage() for record in caplog.records] == ["logged"]


def test_a_handler_must_be_callable(loop):
    with pytest.raises(TypeError, match="callable"):
        loop.set_exception_handler("not callable")
    assert loop.get_exception_handler() is None


def test_the_handler_is_given_the_loop(loop):
    seen = []
    loop.set_exception_handler(lambda *args: seen.append(args))
    context = {"message": "hello"}
    loop.call_exception_handler(context)
    assert seen == [(loop, context)]


def test_a_handler_that_fails_is_logged_with_both(loop, caplog):
    loop.set_exception_handler(lambda loop, context: fail("in the handler"))
    loop.call_soon(fail, "in the callback")
    run_once(loop)
    (record,) = caplog.records
    assert "Unhandled error in exception handler" in record.getMessage()
    assert "in the callback" in record.getMessage()
    assert record.exc_info[0] is ZeroDivisionError


def test_a_default_handler_that_fails_is_logged(loop, caplog, monkeypatch):
    monkeypatch.setattr(loop, "default_exception_handler", lambda context: fail("in the default"))
    loop.call_soon(fail, "in the callback")
    run_once(loop)
    (record,) = caplog.records
    assert "Exception in default exception handler" in record.getMessage()


def test_two_handlers_that_fail_are_logged(loop, caplog, monkeypatch):
    loop.set_exception_handler(lambda loop, context: fail("in the handler"))
    monkeypatch.setattr(loop, "default_exception_handler", lambda context: fail("in the default"))
    loop.call_soon(fail, "in the callback")
    run_once(loop)
    (record,) = caplog.records
    assert record.getMessage() == (
        "Exception in default exception handler while handling an unexpected error "
        "in custom exception handler"
    )


def test_an_overridden_default_handler_is_used(loop, monkeypatch):
    seen = []
    monkeypatch.setattr(loop, "default_exception_handler", seen.append)
    loop.call_soon(fail)
    run_once(loop)
    assert len(seen) == 1 and isinstance(seen[0]["exception"], ZeroDivisionError)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_handler_may_leave_the_loop(loop, kind):
    def leave(loop, context):
        raise kind("from the handler")

    loop.set_exception_handler(leave)
    loop.call_soon(fail)
    with pytest.raises(kind, match="from the handler"):
        loop.run_forever()
    loop.set_exception_handler(None)
    assert loop.run_until_complete(asyncio.sleep(0, "works on")) == "works on"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio does so since Python 3.12")
def test_the_handler_runs_in_the_context_of_the_callback(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(WHO.get()))
    context = contextvars.copy_context()
    context.run(WHO.set, "the callback")
    loop.call_soon(fail, context=context)
    run_once(loop)
    assert seen == ["the callback"]


def test_a_task_exception_that_nobody_retrieved(loop):
    recorder = ExceptionRecorder(loop)

    async def fails():
        fail("never retrieved")

    async def main():
        task = loop.create_task(fails())
        await asyncio.wait([task])

    loop.run_until_complete(main())
    gc.collect()
    (context,) = recorder.contexts
    assert context["message"] == "Task exception was never retrieved"
    assert isinstance(context["exception"], ZeroDivisionError)
    recorder.contexts.clear()


def test_a_pending_task_that_is_destroyed(loop_factory):
    loop = loop_factory()
    recorder = ExceptionRecorder(loop)

    async def wait_for_ever():
        await asyncio.Future()

    loop.create_task(wait_for_ever())
    run_turns(loop, 2)
    gc.collect()
    assert recorder.messages == ["Task was destroyed but it is pending!"]
    recorder.contexts.clear()
    loop.close()


def test_the_stop_of_a_failing_callback_counts(loop):
    recorder = ExceptionRecorder(loop)

    def stop_and_fail():
        loop.stop()
        fail()

    loop.call_soon(stop_and_fail)
    loop.run_forever()
    assert len(recorder.contexts) == 1
