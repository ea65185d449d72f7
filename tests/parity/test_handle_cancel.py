"""Cancelling a handle: what it forgets, what debug mode remembers, who may do it and when.

Owns: one loop a test, of asyncio and of loopx alike. Thread: the main thread, and others that
cancel, run and schedule.
"""

import _thread
import contextvars
import functools
import gc
import os
import socket
import threading
import weakref

import pytest

from tests.support.loops import ExceptionRecorder, run_turns
from tests.support.net import only_on
from tests.support.threads import HAS_GIL, in_thread

SHADE = contextvars.ContextVar("SHADE", default="none")
SCHEDULE = {
    "call_soon": lambda loop, *args, **kw: loop.call_soon(*args, **kw),
    "call_soon_threadsafe": lambda loop, *args, **kw: loop.call_soon_threadsafe(*args, **kw),
    "call_later": lambda loop, *args, **kw: loop.call_later(0, *args, **kw),
    "call_at": lambda loop, *args, **kw: loop.call_at(loop.time(), *args, **kw),
}
every_way = pytest.mark.parametrize("name", SCHEDULE)


def callback(*args):
    """Something with a name that a repr can show."""


class Node:
    """A callback or an argument that a weak reference can watch."""

    def __call__(self, *args):
        """Nothing is done."""


class Unprintable:
    """A callback that debug mode cannot show."""

    def __call__(self):
        """Nothing is done."""

    def __repr__(self):
        raise ZeroDivisionError


# ---- what is forgotten -----------------------------------------------------------------------


@every_way
def test_callback_and_arguments_are_forgotten(loop, name):
    node, argument = Node(), Node()
    alive = weakref.ref(node), weakref.ref(argument)
    handle = SCHEDULE[name](loop, node, argument)
    del node, argument
    handle.cancel()
    gc.collect()
    assert [each() for each in alive] == [None, None]
    assert handle._callback is None and handle._args is None


@every_way
def test_a_callback_may_cancel_itself(loop, name):
    seen = []

    def cancel():
        handle.cancel()
        seen.append((handle._callback, handle._args, handle.cancelled()))

    handle = SCHEDULE[name](loop, cancel)
    run_turns(loop, 3)
    assert seen == [(None, None, True)]
    assert "cancelled" in repr(handle) and "callback" not in repr(handle)


def test_cancelled_by_another_thread_while_it_runs(loop):
    runs, goes_on = threading.Event(), threading.Event()

    def run():
        runs.set()
        assert goes_on.wait(10)

    def cancel():
        assert runs.wait(10)
        threading.Timer(0.05, goes_on.set).start()
        handle.cancel()

    handle = loop.call_soon_threadsafe(run)
    canceller = threading.Thread(target=cancel)
    canceller.start()
    run_turns(loop, 3)
    canceller.join()
    assert handle.cancelled() and handle._callback is None and handle._args is None


@pytest.mark.skipif(not HAS_GIL, reason="references of threads are counted late")
def test_no_argument_is_shown_while_the_last_one_ends(loop):
    seen = []

    class Argument:
        def __del__(self):
            seen.append(handle._args)

    handle = loop.call_soon(callback, Argument())
    handle.cancel()
    assert seen == [None]


@only_on("loopx")
def test_a_cancelled_timer_is_freed_at_once(loop):
    handle = loop.call_later(1000, callback)
    alive = weakref.ref(handle)
    handle.cancel()
    del handle
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("name", ["call_later", "call_soon_threadsafe"])
@only_on("loopx")
def test_the_end_of_a_callback_takes_the_handle_too(loop_factory, name):
    """A use after free but for a reference of its own: the sanitizers see it."""
    loop = loop_factory()

    class Last:
        def __call__(self):
            """Nothing is done."""

        def __del__(self):
            loop.close()
            cancel.__setstate__((int, (), {}, None))

    handle = SCHEDULE[name](loop, Last())
    cancel = functools.partial(type(handle).cancel, handle)
    del handle
    if name == "call_soon_threadsafe":
        loop.close()
    cancel()
    assert loop.is_closed()


# ---- debug mode ------------------------------------------------------------------------------


@every_way
def test_debug_mode_remembers_what_was_cancelled(loop, name):
    loop.set_debug(True)
    handle = SCHEDULE[name](loop, callback, 1, "two")
    handle.cancel()
    loop.set_debug(False)
    assert "cancelled" in repr(handle) and "callback(1, 'two')" in repr(handle)


@every_way
def test_debug_mode_turned_on_later_remembers_too(loop, name):
    handle = SCHEDULE[name](loop, callback, 1)
    context = handle._context
    loop.set_debug(True)
    handle.cancel()
    assert "callback(1)" in repr(handle)
    assert handle._context is context and not handle._source_traceback


@every_way
def test_debug_mode_keeps_the_context_of_the_scheduling(loop, name):
    loop.set_debug(True)
    seen = []

    def change():
        seen.append(SHADE.get())
        SHADE.set("changed")

    token = SHADE.set("scheduled")
    handle = SCHEDULE[name](loop, change)
    SHADE.set("later")
    context = handle._context
    assert context is handle._context and context[SHADE] == "scheduled"
    run_turns(loop, 3)
    assert seen == ["scheduled"] and context[SHADE] == "changed"
    SHADE.reset(token)


@every_way
def test_debug_mode_keeps_the_context_that_was_given(loop, name):
    loop.set_debug(True)
    mine = contextvars.copy_context()
    handle = SCHEDULE[name](loop, SHADE.set, "inside", context=mine)
    assert handle._context is mine
    run_turns(loop, 3)
    assert mine[SHADE] == "inside"


@only_on("loopx")
def test_what_debug_mode_remembers_is_no_context(loop):
    loop.set_debug(True)
    handle = loop.call_soon(callback)
    (info,) = [each for each in gc.get_referents(handle) if type(each).__name__ == "DebugInfo"]
    with pytest.raises(TypeError, match="instance of Context"):
        loop.call_soon(callback, context=info)


def test_debug_mode_on_a_thread_that_runs_no_python_code(loop):
    loop.set_debug(True)
    called = threading.Event()
    _thread.start_new_thread(loop.call_soon_threadsafe, (called.set,))
    for _ in range(500):
        if called.is_set():
            break
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
    assert called.is_set()


def test_a_callback_that_cannot_be_shown_is_removed_all_the_same(loop):
    recorder = ExceptionRecorder(loop)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        loop.set_debug(True)
        loop.add_reader(ours, Unprintable())
        with pytest.raises(ZeroDivisionError):
            loop.remove_reader(ours)
        assert loop.remove_reader(ours) is False
        loop.add_reader(ours, Unprintable())
        seen = []
        with pytest.raises(ZeroDivisionError):
            loop.add_reader(ours, seen.append, "called")
        run_turns(loop, 2)
        assert set(seen) == {"called"}
        loop.add_writer(ours, Unprintable())
        loop.close()
    assert not recorder.contexts


def test_a_callback_that_cannot_be_shown_may_cancel_itself(loop):
    """The loop goes on: whoever cancels is told."""
    seen = []

    class CancelsItself(Unprintable):
        def __call__(self):
            with pytest.raises(ZeroDivisionError):
                handle.cancel()
            seen.append(handle.cancelled())

    loop.set_debug(True)
    handle = loop.call_soon_threadsafe(CancelsItself())
    run_turns(loop, 2)
    assert seen == [True]


# ---- by hand, from elsewhere -----------------------------------------------------------------


@every_way
def test_a_handle_runs_as_often_as_it_is_run(loop, name):
    seen = []
    handle = SCHEDULE[name](loop, seen.append, 1)
    handle._run()
    handle._run()
    run_turns(loop, 3)
    assert seen == [1, 1, 1]


def run_here(handle):
    handle._run()


def run_elsewhere(handle):
    in_thread(handle._run)


@pytest.mark.parametrize("run", [run_here, run_elsewhere])
def test_a_callback_run_by_hand_may_ask_and_cancel(loop, run):
    seen = []

    def ask():
        seen.append(handle.cancelled())
        handle.cancel()

    handle = loop.call_soon_threadsafe(ask)
    run(handle)
    assert seen == [False] and handle.cancelled()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@only_on("loopx")
def test_a_child_forked_in_a_callback_may_ask(loop):
    seen = []

    def fork():
        child = os.fork()
        if child == 0:
            os._exit(7 if handle.cancelled() is False else 1)
        seen.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    handle = loop.call_soon_threadsafe(fork)
    run_turns(loop, 2)
    assert seen == [7]


@only_on("loopx")
def test_a_handle_run_by_who_has_the_only_reference(loop_factory):
    loop = loop_factory()
    run_handle = type(loop.call_soon_threadsafe(int))._run
    run = functools.partial(run_handle, loop.call_soon_threadsafe(SHADE.set, "again"))
    loop.close()
    run()
    assert run.args[0]._context[SHADE] == "again"


@only_on("loopx")
def test_a_timer_is_started_once_and_by_its_own_loop(loop, loop_factory):
    other = loop_factory()
    seen = []
    handle = loop.call_later(0.01, seen.append, 1)
    loop._start_timer(handle)
    other._start_timer(handle)
    assert other.stats()["timers"] == 0
    other.close()
    loop.call_later(0.03, loop.stop)
    loop.run_forever()
    assert seen == [1]


@only_on("loopx")
def test_a_subclass_may_ask_for_its_context(loop):
    class Mine(type(loop.call_soon(callback))):
        def get_context(self):
            return self._context

    mine = contextvars.copy_context()
    assert Mine(callback, (), loop, mine).get_context() is mine


@pytest.mark.parametrize("schedule", ["call_soon", "call_later"])
@only_on("loopx")
def test_several_threads_fill_a_loop_that_does_not_run(loop, schedule):
    """Without a GIL none of them may touch the queues of the thread that made it."""
    seen = []
    begin = threading.Barrier(3)

    def fill():
        begin.wait()
        for _ in range(500):
            if schedule == "call_soon":
                loop.call_soon(seen.append, 1)
            else:
                loop.call_later(0, seen.append, 1)

    threads = [threading.Thread(target=fill) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    run_turns(loop, 4)
    assert len(seen) == 1500


@only_on("loopx")
def test_several_threads_cancel_the_timers_of_a_loop_that_does_not_run(loop):
    handles = [loop.call_later(0, pytest.fail) for _ in range(500)]
    begin = threading.Barrier(3)

    def cancel():
        begin.wait()
        for handle in handles:
            handle.cancel()

    threads = [threading.Thread(target=cancel) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    run_turns(loop, 3)
    assert all(handle.cancelled() for handle in handles) and loop.stats()["timers"] == 0
