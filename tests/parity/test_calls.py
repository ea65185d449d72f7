"""Callbacks that nobody has a handle of: of tasks, of futures, and of callers who did not keep it.

Owns: one loop a test, of asyncio and of loopx alike. Thread: the main thread, and others that hand
over callbacks. loopx keeps these calls without a handle (sched/calls.pxi); nobody may notice.
"""

import asyncio
import contextvars
import functools
import gc
import random
import weakref

import pytest

from tests.support.loops import ExceptionRecorder, run_once, run_turns
from tests.support.net import only_on
from tests.support.scripts import run_script
from tests.support.threads import HAS_GIL, in_thread

SHADE = contextvars.ContextVar("SHADE", default="none")


class Node:
    """What a weak reference can watch."""


def finished(loop, *callbacks, **options):
    """A future that is done, with its callbacks scheduled."""
    future = loop.create_future()
    for callback in callbacks:
        future.add_done_callback(callback, **options)
    future.set_result("done")
    return future


async def take_steps(seen, name, count):
    for number in range(count):
        seen.append((name, number))
        await asyncio.sleep(0)


def test_calls_and_handles_keep_their_order(loop):
    chance = random.Random(11)
    seen, tasks = [], []
    expected = [[] for _ in range(4)]

    def note(number, future=None):
        seen.append(number)

    for number in range(500):
        kind = chance.randrange(4)
        if kind == 0:
            loop.call_soon(note, number)
        elif kind == 1:
            finished(loop, functools.partial(note, number))
        elif kind == 2:
            tasks.append(loop.create_task(take_steps(seen, number, 3)))
        else:
            in_thread(functools.partial(loop.call_soon_threadsafe, note, number))
        for turn in range(3 if kind == 2 else 1):
            expected[turn].append((number, turn) if kind == 2 else number)
    for turn in range(4):
        run_once(loop)
        assert seen == expected[turn]
        seen.clear()
    assert all(task.done() for task in tasks)


@pytest.mark.parametrize("name", ["call_soon", "call_soon_threadsafe"])
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_it_makes_no_difference_who_kept_a_handle(loop, name, where):
    chance = random.Random(5)
    seen, expected, kept, watched = [], [], {}, []

    def note(number, *args):
        seen.append((number, args, SHADE.get()))

    def schedule_all():
        schedule = getattr(loop, name)
        for number in range(1000):
            args = tuple(range(chance.randrange(4)))
            shade = f"shade {number % 3}"
            SHADE.set(shade)
            handle = schedule(note, number, *args)
            fate = chance.randrange(5)
            if fate == 0:
                kept[number] = handle
            elif fate == 1:
                watched.append(weakref.ref(handle))
            elif fate == 2:
                handle.cancel()
                continue
            expected.append((number, args, shade))
        for number in list(kept)[::2]:
            kept.pop(number).cancel()
            expected[:] = [call for call in expected if call[0] != number]

    if where == "here":
        contextvars.copy_context().run(schedule_all)
    else:
        in_thread(schedule_all)
    run_once(loop)
    assert seen == expected
    assert all(not handle.cancelled() for handle in kept.values())
    assert [reference() for reference in watched] == [None] * len(watched)


@pytest.mark.parametrize("args", [(), (1,), (1, 2), (None,), ((),)])
def test_what_fails_is_reported_as_it_was_scheduled(loop, args):
    errors = ExceptionRecorder(loop)

    def fail(*given):
        raise ValueError(given)

    token = SHADE.set("then")
    loop.call_soon(fail, *args)
    SHADE.reset(token)
    run_once(loop)
    (context,) = errors.contexts
    handle = context["handle"]
    assert context["exception"].args == (args,)
    assert (handle._callback, handle._args) == (fail, args)
    assert handle._context[SHADE] == "then" and "fail" in repr(handle)
    handle._run()
    assert len(errors.contexts) == 2


def test_debug_mode_that_comes_later_watches_what_nobody_kept(loop, caplog):
    loop.slow_callback_duration = 0
    loop.call_soon(functools.partial(int, "0"))
    loop.call_soon(int)
    loop.set_debug(True)
    run_once(loop)
    assert "<Handle int('0')()> took" in caplog.text


def test_a_callback_gets_its_future_and_its_context(loop):
    seen = []
    own = contextvars.copy_context()
    own.run(SHADE.set, "own")
    token = SHADE.set("current")
    futures = [
        finished(loop, lambda future: seen.append((future, SHADE.get()))),
        finished(loop, lambda future: seen.append((future, SHADE.get())), context=own),
    ]
    SHADE.reset(token)
    run_once(loop)
    assert seen == [(futures[0], "current"), (futures[1], "own")]


def test_a_context_that_is_entered_already_is_reported(loop, caplog):
    seen = []
    own = contextvars.copy_context()

    def run_inside():
        finished(loop, seen.append, context=own)
        run_once(loop)

    own.run(run_inside)
    assert "is already entered" in caplog.text and not seen


@pytest.mark.parametrize("bad", [5, "context", (), object()])
def test_what_is_no_context_is_reported(loop, bad):
    errors = ExceptionRecorder(loop)
    seen = []
    finished(loop, print, context=bad)
    loop.call_soon(seen.append, 1)
    run_once(loop)
    assert len(errors.contexts) == 1 and seen == [1]


@pytest.mark.parametrize("debug", [False, True])
def test_what_a_callback_raises_is_reported_with_a_handle(loop, debug):
    errors = ExceptionRecorder(loop)
    own = contextvars.copy_context()
    seen = []

    def fail(future):
        raise ValueError("on purpose")

    loop.set_debug(debug)
    future = finished(loop, fail, seen.append, context=own)
    run_once(loop)
    (context,) = errors.contexts
    assert str(context["exception"]) == "on purpose"
    assert context["message"].startswith("Exception in callback ") and "fail" in context["message"]
    handle = context["handle"]
    assert isinstance(handle, (asyncio.Handle, type(loop.call_soon(int))))
    assert (handle._callback, handle._args, handle._context) == (fail, (future,), own)
    assert not handle.cancelled()
    assert ("source_traceback" in context) == debug
    assert seen == [future]


def test_a_step_that_fails_is_reported_with_a_handle_that_the_collector_knows(loop):
    errors = ExceptionRecorder(loop)
    coroutine = take_steps([], "never", 1)
    task = loop.create_task(coroutine)
    asyncio.Future.set_result(task, "behind its back")
    run_once(loop)
    (context,) = errors.contexts
    assert isinstance(context["exception"], asyncio.InvalidStateError)
    assert gc.is_tracked(context["handle"]) and gc.is_tracked(context["handle"]._callback)
    coroutine.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_leaves_the_rest_for_the_next_run(loop, error):
    seen = []

    def leave(future):
        raise error

    finished(loop, leave, seen.append)
    task = loop.create_task(take_steps(seen, "task", 1))
    with pytest.raises(error):
        run_once(loop)
    run_turns(loop, 3)
    assert len(seen) == 2 and task.done()


@pytest.mark.parametrize("later", [False, True])
def test_debug_mode_may_change_while_calls_wait(loop, later):
    seen = []
    loop.set_debug(not later)
    finished(loop, lambda future: seen.append("called"))
    task = loop.create_task(take_steps(seen, "task", 1))
    loop.set_debug(later)
    run_turns(loop, 3)
    assert seen == ["called", ("task", 0)] and task.done()


@pytest.mark.parametrize("where", ["class", "object"])
def test_whoever_stands_before_call_soon_gets_handles(loop, where, monkeypatch):
    kept = []
    plain = type(loop).call_soon

    def call_soon(self, callback, *args, **options):
        handle = plain(self, callback, *args, **options)
        kept.append(handle)
        return handle

    if where == "class":
        monkeypatch.setattr(type(loop), "call_soon", call_soon)
    else:
        monkeypatch.setattr(loop, "call_soon", functools.partial(call_soon, loop))
    seen = []
    finished(loop, seen.append)
    task = loop.create_task(take_steps(seen, "task", 1))
    assert len(kept) == 2
    kept[0].cancel()
    monkeypatch.undo()
    run_turns(loop, 3)
    assert seen == [("task", 0)] and task.done()
    assert [handle.cancelled() for handle in kept] == [True, False]


def test_closing_lets_go_of_what_was_to_be_called(loop):
    nodes = [Node() for _ in range(3)]
    alive = [weakref.ref(node) for node in nodes]
    own = contextvars.copy_context()
    own.run(SHADE.set, nodes[0])
    finished(loop, functools.partial(print, nodes[1]), context=own)
    finished(loop, print).node = nodes[2]
    del nodes, own
    loop.close()
    gc.collect()
    assert [reference() for reference in alive] == [None] * 3


def test_what_is_ready_runs_after_a_callback_that_stops_the_loop(loop):
    seen = []
    finished(loop, lambda future: loop.stop(), seen.append)
    loop.call_soon(seen.append, "after")
    loop.run_forever()
    assert len(seen) == 2


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_an_unclosed_loop_is_collected_with_the_calls_that_wait(loop_factory):
    loop = loop_factory()
    loop.set_exception_handler(lambda loop, context: None)     # of tasks that are still pending
    tasks = [loop.create_task(take_steps([], "never", 1)) for _ in range(5)]
    futures = [finished(loop, print) for _ in range(5)]
    alive = [weakref.ref(thing) for thing in (loop, *tasks, *futures)]
    del tasks, futures
    gc.collect()
    assert all(reference() is not None for reference in alive)
    del loop
    gc.collect()
    assert [reference() for reference in alive] == [None] * 11


@only_on("loopx")
@pytest.mark.skipif(not HAS_GIL, reason="without a GIL nothing is hidden")
def test_the_collector_need_not_look_at_the_steps_that_wait(loop):
    def steps_and_handles():
        names = [type(thing).__name__ for thing in gc.get_objects()]
        return sum("Handle" in name or "StepMeth" in name for name in names)

    before = steps_and_handles()
    tasks = [loop.create_task(take_steps([], "task", 1)) for _ in range(1000)]
    assert steps_and_handles() - before < 10
    gc.collect()
    run_turns(loop, 3)
    assert all(task.done() for task in tasks)


def test_a_handle_that_ran_is_let_go_before_what_follows(loop):
    node = Node()
    alive, seen = weakref.ref(node), []
    handle = loop.call_soon(functools.partial(id, node))
    loop.call_soon(lambda: seen.append(alive() is None))
    finished(loop, lambda future: seen.append(alive() is None))
    del handle, node
    run_once(loop)
    assert seen == [True, True]


def test_a_step_that_debug_mode_watches_is_known_to_the_collector(loop):
    seen = []

    async def look():
        seen.append(gc.is_tracked(loop._current_handle._callback))

    task = loop.create_task(look())
    loop.set_debug(True)
    run_turns(loop, 2)
    assert seen == [True] and task.done()


@only_on("loopx")
def test_stats_while_what_waits_is_dropped(loop):
    seen = []

    class Counts:
        def __call__(self, future):
            pass

        def __del__(self):
            seen.append(loop.stats()["ready"])

    for _ in range(3):
        finished(loop, Counts())
    loop.close()
    assert len(seen) == 3 and loop.stats()["ready"] == 0


def test_the_first_task_of_a_program_is_the_first(loop_kind):
    done = run_script(loop_kind, """
        async def name():
            return asyncio.current_task().get_name()
        loop = new_loop()
        print(loop.run_until_complete(name()))
        loop.close()
    """)
    assert done.stdout == "Task-1\n"


@only_on("loopx")
def test_stats_count_calls_as_one_each(loop):
    task = loop.create_task(take_steps([], "task", 1))
    finished(loop, print, print)
    loop.call_soon(int)
    assert loop.stats()["ready"] == 4
    before = loop.stats()["callbacks"]
    task.cancel()
    run_once(loop)
    assert loop.stats()["ready"] == 0
    assert loop.stats()["callbacks"] - before in (4, 5)         # run_once() may need one itself
