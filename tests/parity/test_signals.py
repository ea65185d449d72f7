"""add_signal_handler, remove_signal_handler, and signals that arrive during a wait or a run.

Runs on asyncio and on loopx, on the main thread, where Python runs its signal handlers.  What
would end the process (Ctrl-C) is in test_signals_interrupt.py.
"""

import asyncio
import gc
import os
import signal
import threading
import time
import weakref

import pytest

from tests.support.loops import ExceptionRecorder, run_once, run_until
from tests.support.net import Peer, run, tcp_pair
from tests.support.recorders import Echo
from tests.support.threads import Elsewhere, in_thread, wait_until_blocked

USR1 = signal.SIGUSR1
USR2 = signal.SIGUSR2


@pytest.fixture(autouse=True)
def dispositions():
    """Every test leaves the signals and the wake-up descriptor as they were."""
    before = {number: signal.getsignal(number) for number in (USR1, USR2, signal.SIGINT)}
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    yield
    after = {number: signal.getsignal(number) for number in before}
    now = signal.set_wakeup_fd(wakeup)
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before
    assert now == wakeup


def kill_self(number=USR1):
    os.kill(os.getpid(), number)


def kill_when_blocked(main_id, number=USR1):
    wait_until_blocked(main_id)
    kill_self(number)


def test_a_handler_is_called_with_its_arguments(loop):
    seen = []

    def handler(*args):
        seen.append(args)
        loop.stop()

    assert loop.add_signal_handler(USR1, handler, 1, 2) is None
    loop.call_soon(kill_self)
    loop.run_forever()
    assert seen == [(1, 2)]
    assert loop.remove_signal_handler(USR1) is True


def test_a_handler_runs_in_the_loop_and_on_its_thread(loop):
    seen = []

    def handler():
        seen.append((asyncio.get_running_loop() is loop, threading.current_thread()))
        loop.stop()

    loop.add_signal_handler(USR1, handler)
    loop.call_soon(kill_self)
    loop.run_forever()
    assert seen == [(True, threading.main_thread())]
    loop.remove_signal_handler(USR1)


def test_a_signal_wakes_a_waiting_loop(loop):
    seen = []
    loop.add_signal_handler(USR1, lambda: (seen.append("signal"), loop.stop()))
    started_s = time.monotonic()
    loop.call_later(50, loop.stop)
    with Elsewhere(kill_when_blocked, threading.get_native_id()):
        loop.run_forever()
    assert seen == ["signal"]
    assert time.monotonic() - started_s < 20
    loop.remove_signal_handler(USR1)


def test_a_signal_between_runs_is_served_in_the_next(loop):
    seen = []
    loop.add_signal_handler(USR1, seen.append, "signal")
    run_once(loop)
    kill_self()
    assert seen == []
    run_until(loop, lambda: seen)
    assert seen == ["signal"]
    loop.remove_signal_handler(USR1)


def test_several_signals_each_to_its_handler(loop):
    seen = []
    loop.add_signal_handler(USR1, seen.append, "one")
    loop.add_signal_handler(USR2, seen.append, "two")
    for number in (USR1, USR2, USR1):
        loop.call_soon(kill_self, number)
    run_until(loop, lambda: len(seen) == 3)
    assert sorted(seen) == ["one", "one", "two"]
    assert loop.remove_signal_handler(USR1) and loop.remove_signal_handler(USR2)


def test_a_second_handler_replaces_the_first(loop):
    seen = []
    loop.add_signal_handler(USR1, seen.append, "first")
    loop.add_signal_handler(USR1, seen.append, "second")
    loop.call_soon(kill_self)
    run_until(loop, lambda: seen)
    assert seen == ["second"]
    assert loop.remove_signal_handler(USR1)
    assert not loop.remove_signal_handler(USR1)


def test_removing_tells_whether_there_was_one(loop):
    assert loop.remove_signal_handler(USR1) is False
    loop.add_signal_handler(USR1, print)
    assert loop.remove_signal_handler(USR1) is True
    assert loop.remove_signal_handler(USR1) is False


def test_removing_gives_the_default_back(loop):
    loop.add_signal_handler(USR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    assert signal.getsignal(USR1) is not signal.SIG_DFL
    loop.remove_signal_handler(USR1)
    loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(USR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_closing_removes_every_handler(loop_factory):
    loop = loop_factory()
    loop.add_signal_handler(USR1, print)
    loop.add_signal_handler(USR2, print)
    loop.close()
    assert signal.getsignal(USR1) is signal.SIG_DFL
    assert signal.getsignal(USR2) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def test_a_handler_of_a_closed_loop_is_let_go(loop_factory):
    class Handler:
        def __call__(self):
            pass

    loop = loop_factory()
    handler = Handler()
    alive = weakref.ref(handler)
    loop.add_signal_handler(USR1, handler)
    loop.close()
    del handler
    gc.collect()
    assert alive() is None


def test_removing_from_the_handler_itself(loop):
    seen = []

    def handler():
        seen.append(loop.remove_signal_handler(USR1))
        loop.stop()

    loop.add_signal_handler(USR1, handler)
    loop.call_soon(kill_self)
    loop.run_forever()
    assert seen == [True]


def test_a_handler_that_fails_is_reported_and_stays(loop):
    recorder = ExceptionRecorder(loop)

    def handler():
        loop.call_soon(loop.stop)
        raise ZeroDivisionError("in the handler")

    loop.add_signal_handler(USR1, handler)
    for _ in range(2):
        loop.call_soon(kill_self)
        loop.run_forever()
    assert [type(c["exception"]) for c in recorder.contexts] == [ZeroDivisionError] * 2
    loop.remove_signal_handler(USR1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_signals_that_cannot_be_caught(loop, number):
    with pytest.raises(RuntimeError, match="cannot be caught"):
        loop.add_signal_handler(number, print)
    assert loop.remove_signal_handler(number) is False


@pytest.mark.parametrize("number", [-1, 0, 1000, signal.NSIG])
def test_numbers_that_are_no_signals(loop, number):
    with pytest.raises(ValueError):
        loop.add_signal_handler(number, print)
    with pytest.raises(ValueError):
        loop.remove_signal_handler(number)


def test_what_is_not_a_number(loop):
    with pytest.raises(TypeError):
        loop.add_signal_handler("SIGUSR1", print)
    with pytest.raises(TypeError):
        loop.remove_signal_handler(1.5)


def test_coroutines_are_refused(loop):
    async def handler():
        pass

    with pytest.raises(TypeError, match="coroutine"):
        loop.add_signal_handler(USR1, handler)
    coroutine = handler()
    with pytest.raises(TypeError, match="coroutine"):
        loop.add_signal_handler(USR1, coroutine)
    coroutine.close()


def test_only_the_main_thread_may_add(loop):
    def add():
        with pytest.raises((RuntimeError, ValueError), match="main thread"):
            loop.add_signal_handler(USR1, print)

    in_thread(add)
    assert signal.getsignal(USR1) is signal.SIG_DFL


def test_two_loops_one_after_the_other(loop_factory):
    for _ in range(3):
        loop = loop_factory()
        seen = []
        loop.add_signal_handler(USR1, lambda: (seen.append(1), loop.stop()))
        loop.call_soon(kill_self)
        loop.run_forever()
        loop.close()
        assert seen == [1]


def test_a_plain_python_handler_runs_while_the_loop_waits(loop):
    seen = []
    previous = signal.signal(USR1, lambda *args: seen.append(args[0]))
    try:
        loop.call_later(50, print)

        def kill_then_stop(main_id):
            kill_when_blocked(main_id)
            deadline_s = time.monotonic() + 20
            while not seen and time.monotonic() < deadline_s:
                os.sched_yield()
            seen_while_waiting = list(seen)
            loop.call_soon_threadsafe(loop.stop)
            return seen_while_waiting

        with Elsewhere(kill_then_stop, threading.get_native_id()) as killer:
            loop.run_forever()
        assert killer.result == [USR1]
    finally:
        signal.signal(USR1, previous)


def test_a_plain_python_handler_that_raises_ends_the_run(loop):
    class Alarm(Exception):
        pass

    def raises(number, frame):
        raise Alarm

    previous = signal.signal(USR1, raises)
    try:
        loop.call_later(50, print)
        with Elsewhere(kill_when_blocked, threading.get_native_id()):
            with pytest.raises(Alarm):
                loop.run_forever()
        assert not loop.is_running()
        assert loop.run_until_complete(asyncio.sleep(0, "works on")) == "works on"
    finally:
        signal.signal(USR1, previous)


def test_interrupted_waits_do_not_make_timers_early_or_late(loop):
    """Sixty signals a second or so, none of them with a handler on the loop."""
    counts = []
    previous = signal.signal(USR1, lambda *args: counts.append(1))
    try:

        def pester(main_id):
            for _ in range(20):
                kill_when_blocked(main_id)

        started_s = loop.time()
        with Elsewhere(pester, threading.get_native_id()) as pesterer:
            loop.run_until_complete(asyncio.sleep(0.2))
            took_s = loop.time() - started_s
            while not pesterer.has_ended():        # it waits for the loop to block
                loop.run_until_complete(asyncio.sleep(0.02))
        assert 0.2 <= took_s < 1.0
        assert counts
    finally:
        signal.signal(USR1, previous)


@pytest.mark.parametrize("python_handler", [True, False])
def test_no_byte_is_lost_under_a_shower_of_signals(loop, python_handler):
    """An interval timer every millisecond while two megabytes go round."""
    payload = os.urandom(1 << 20) * 2
    hits = []

    def hit(*args):
        hits.append(1)

    async def main():
        ours, theirs = tcp_pair()
        transport, protocol = await loop.create_connection(Echo, sock=ours)
        peer = Peer(theirs)
        sending = asyncio.ensure_future(peer.send(payload))
        received = await peer.recv_exactly(len(payload))
        await sending
        while len(hits) < 20:
            await asyncio.sleep(0.001)
        transport.close()
        await protocol.lost
        peer.close()
        return received

    previous = signal.getsignal(signal.SIGVTALRM)
    if python_handler:
        signal.signal(signal.SIGVTALRM, hit)
    else:
        loop.add_signal_handler(signal.SIGVTALRM, hit)
    with Elsewhere(shower, done := threading.Event()):
        try:
            received = run(loop, main(), 40)
        finally:
            done.set()
    if python_handler:
        signal.signal(signal.SIGVTALRM, previous)
    else:
        loop.remove_signal_handler(signal.SIGVTALRM)
    assert received == payload


def shower(done):
    while not done.wait(0.001):
        kill_self(signal.SIGVTALRM)


def test_signals_do_not_disturb_callbacks_in_order(loop):
    order = []
    loop.add_signal_handler(USR1, order.append, "signal")
    for number in range(100):
        loop.call_soon(order.append, number)
        if number == 50:
            loop.call_soon(kill_self)
    run_until(loop, lambda: "signal" in order)
    loop.remove_signal_handler(USR1)
    order.remove("signal")
    assert order == list(range(100))


def test_a_burst_of_one_signal_is_heard(loop):
    """Signals of one number may be merged, but the last is always heard."""
    seen = []
    loop.add_signal_handler(USR1, seen.append, 1)
    for _ in range(100):
        kill_self()
    run_until(loop, lambda: seen)
    assert 1 <= len(seen) <= 100
    loop.remove_signal_handler(USR1)
