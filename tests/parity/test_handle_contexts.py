"""The context of a callback: when it is copied, who shares it, how long its values live.

Owns: one loop a test, of asyncio and of loopx alike. Thread: the main thread, and one more that
schedules. loopx makes the copy when the callback runs (sched/contexts.pxi); nobody may notice.
"""

import asyncio
import contextlib
import contextvars
import functools
import gc
import weakref

import pytest

from tests.support.loops import ExceptionRecorder, run_turns
from tests.support.net import only_on
from tests.support.threads import HAS_GIL, in_thread

SHADE = contextvars.ContextVar("SHADE", default="none")


class Value:
    """What a variable can have, and a weak reference can watch."""


SCHEDULE = {
    "call_soon": lambda loop, *args, **kw: loop.call_soon(*args, **kw),
    "call_soon_threadsafe": lambda loop, *args, **kw: loop.call_soon_threadsafe(*args, **kw),
    "call_later": lambda loop, *args, **kw: loop.call_later(0, *args, **kw),
    "call_at": lambda loop, *args, **kw: loop.call_at(loop.time(), *args, **kw),
}
every_way = pytest.mark.parametrize("name", SCHEDULE)


@pytest.fixture(autouse=True)
def _own_context():
    token = SHADE.set("outer")
    yield
    SHADE.reset(token)


@every_way
def test_values_are_those_of_the_scheduling(loop, name):
    seen = []
    for shade in ("first", "second", "third"):
        SHADE.set(shade)
        SCHEDULE[name](loop, lambda: seen.append(SHADE.get()))
    SHADE.set("later")
    run_turns(loop, 3)
    assert seen == ["first", "second", "third"]
    assert SHADE.get() == "later"


@every_way
def test_each_callback_has_a_context_of_its_own(loop, name):
    seen = []

    def change(number):
        seen.append(SHADE.get())
        SHADE.set(number)

    for number in range(5):
        SCHEDULE[name](loop, change, number)
    run_turns(loop, 3)
    assert seen == ["outer"] * 5 and SHADE.get() == "outer"


@every_way
def test_a_kept_handle_shows_what_its_callback_changed(loop, name):
    handle = SCHEDULE[name](loop, SHADE.set, "changed")
    context = handle._context
    assert context is handle._context and context[SHADE] == "outer"
    run_turns(loop, 3)
    assert handle._context is context and context[SHADE] == "changed"


def test_a_handle_kept_unseen_shows_it_too(loop):
    handle = loop.call_soon(SHADE.set, "changed")
    for _ in range(3):
        loop.call_soon(int)
    run_turns(loop, 2)
    assert handle._context[SHADE] == "changed"


def test_a_token_is_of_its_callback_alone(loop):
    tokens = []
    recorder = ExceptionRecorder(loop)
    loop.call_soon(lambda: tokens.append(SHADE.set("changed")))
    loop.call_soon(lambda: SHADE.reset(tokens[0]))
    loop.call_soon(lambda: tokens.append(SHADE.get()))
    run_turns(loop, 2)
    (failure,) = recorder.contexts
    assert isinstance(failure["exception"], ValueError)
    assert "different Context" in str(failure["exception"])
    assert tokens[1] == "outer"


def test_copies_made_inside_stay_as_they_were(loop):
    copies = []

    def copy(shade):
        SHADE.set(shade)
        copies.append(contextvars.copy_context())

    for shade in "abc":
        loop.call_soon(copy, shade)
    run_turns(loop, 2)
    assert [each[SHADE] for each in copies] == ["a", "b", "c"]


def test_what_reaches_the_context_keeps_it(loop):
    """Not the context of the next callback as well."""
    found = []

    def find(shade):
        SHADE.set(shade)
        mine = SHADE.set(shade)
        found.extend(each for each in gc.get_referents(mine)
                     if isinstance(each, contextvars.Context))

    loop.call_soon(find, "first")
    loop.call_soon(find, "second")
    run_turns(loop, 2)
    assert [each[SHADE] for each in found] == ["first", "second"]


def test_a_weak_reference_outlives_no_context(loop):
    watched = []

    def watch():
        token = SHADE.set("changed")
        (mine,) = (each for each in gc.get_referents(token)
                   if isinstance(each, contextvars.Context))
        watched.append(weakref.ref(mine))

    loop.call_soon(watch)
    loop.call_soon(int)
    loop.call_soon(int)
    run_turns(loop, 2)
    gc.collect()
    assert watched[0]() is None


def test_contexts_that_the_collector_shows_are_whole(loop):
    """A loop may keep one for its next callback: found, it is nobody else's any more."""
    loop.call_soon(SHADE.set, "changed")
    run_turns(loop, 2)
    found = [each for each in gc.get_objects() if type(each) is contextvars.Context]
    shown = [dict(each) for each in found]
    assert len(shown) == len(found)
    loop.call_soon(SHADE.set, "again")
    loop.call_soon(int)
    run_turns(loop, 2)
    assert [dict(each) for each in found] == shown


def test_a_weak_reference_to_a_kept_context_sees_no_other_callback(loop):
    loop.call_soon(int)
    run_turns(loop, 2)
    found = [each for each in gc.get_objects() if type(each) is contextvars.Context]
    watched = [weakref.ref(each) for each in found if not len(each)]
    del found
    seen = []

    def look():
        SHADE.set("secret")
        alive = [each() for each in watched]
        seen.extend(each for each in alive if each is not None and SHADE in each)

    loop.call_soon(look)
    run_turns(loop, 2)
    assert seen == []


def test_values_die_though_no_callback_follows(loop):
    alive = []

    def give():
        value = Value()
        alive.append(weakref.ref(value))
        SHADE.set(value)
        loop.stop()

    loop.call_soon(give)
    loop.run_forever()
    gc.collect()
    assert alive[0]() is None


@every_way
def test_values_die_with_their_callback(loop, name):
    alive, seen = [], []

    def give():
        value = Value()
        alive.append(weakref.ref(value))
        SHADE.set(value)

    SCHEDULE[name](loop, give)
    run_turns(loop, 3)
    gc.collect()
    loop.call_soon(lambda: seen.append(alive[0]()))
    run_turns(loop, 2)
    assert seen == [None]


@every_way
def test_values_live_as_long_as_a_handle_waits(loop, name):
    value, seen = Value(), []
    alive = weakref.ref(value)
    SHADE.set(value)
    SCHEDULE[name](loop, lambda: seen.append(SHADE.get() is alive()))
    SHADE.set("other")
    del value
    gc.collect()
    assert alive() is not None
    run_turns(loop, 3)
    gc.collect()
    assert seen == [True] and alive() is None


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
def test_a_loop_in_its_own_handles_variables_is_collected(loop_factory):
    """The cycle goes through variables that no context shows yet."""
    loop = loop_factory()
    context = contextvars.Context()
    context.run(SHADE.set, loop)
    context.run(loop.call_soon, int)
    alive = weakref.ref(loop)
    del loop, context
    gc.collect()
    assert alive() is None


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_an_unclosed_loop_is_collected_with_what_nobody_kept(loop_factory, where):
    loop = loop_factory()
    alive = weakref.ref(loop)

    def schedule():
        for _ in range(50):
            SHADE.set([alive()])
            alive().call_soon_threadsafe(print, alive())

    in_thread(schedule) if where == "elsewhere" else contextvars.Context().run(schedule)
    assert alive() is not None
    del loop
    gc.collect()
    assert alive() is None


def test_the_exception_handler_sees_what_the_callback_set(loop):
    seen = []

    def fail():
        SHADE.set("failed")
        raise ZeroDivisionError

    loop.set_exception_handler(lambda loop, context: seen.append(
        context["handle"]._context[SHADE]))
    loop.call_soon(fail)
    run_turns(loop, 2)
    assert seen == ["failed"]


def test_a_handle_run_by_hand_twice_has_one_context(loop):
    seen = []

    def count():
        seen.append(SHADE.get())
        SHADE.set("again")

    handle = loop.call_soon(count)
    handle._run()
    handle._run()
    handle.cancel()
    assert seen == ["outer", "again"]


def test_a_handle_run_by_hand_by_whoever_has_the_only_reference(loop_factory):
    """functools.partial lends what it has: no reference is taken for the call."""
    loop, seen = loop_factory(), []

    def count():
        seen.append(SHADE.get())
        SHADE.set("again")

    run = functools.partial(asyncio.Handle._run, loop.call_soon(count))
    if not isinstance(run.args[0], asyncio.Handle):
        run = functools.partial(type(run.args[0])._run, run.args[0])
    loop.close()                                # no queue has it any more
    run()
    assert run.args[0]._context[SHADE] == "again"
    run()
    assert seen == ["outer", "again"]


def test_a_handle_run_by_hand_inside_another(loop):
    seen = []

    def inner():
        seen.append(SHADE.get())
        SHADE.set("inner")

    def outer():
        SHADE.set("changed")
        loop.call_soon(inner)._run()
        seen.append(SHADE.get())

    loop.call_soon(outer)
    run_turns(loop, 3)
    assert seen[:2] == ["changed", "changed"]


def test_another_thread_gives_its_own_variables(loop):
    seen = []

    def schedule():
        SHADE.set("of the thread")
        loop.call_soon_threadsafe(lambda: seen.append(SHADE.get()))
        SHADE.set("after")

    in_thread(schedule)
    run_turns(loop, 2)
    assert seen == ["of the thread"]


def test_a_thread_that_has_no_context_yet(loop):
    seen = []
    in_thread(lambda: loop.call_soon_threadsafe(
        lambda: seen.append(contextvars.copy_context().get(SHADE))))
    run_turns(loop, 2)
    assert len(seen) == 1


def test_variables_that_run_code_when_they_die(loop):
    """The spare context is of no use to what runs meanwhile, nor is it harmed."""
    seen = []

    class Dying:
        def __del__(self):
            loop.call_soon(lambda: seen.append(SHADE.get()))._run()

    loop.call_soon(lambda: SHADE.set(Dying()))
    loop.call_soon(lambda: SHADE.set("second"))
    loop.call_soon(lambda: seen.append(SHADE.get()))
    run_turns(loop, 3)
    gc.collect()
    assert len(seen) >= 2 and "second" not in seen


async def shade_now():
    return SHADE.get()


def test_tasks_copy_their_context_at_once(loop):
    async def main():
        task = asyncio.create_task(shade_now())
        SHADE.set("later")
        return await task

    assert loop.run_until_complete(main()) == "outer"


@only_on("loopx")
@pytest.mark.skipif(not HAS_GIL, reason="without a GIL the copy is made at once")
@every_way
def test_the_copy_waits(loop, name):
    """Or all that was built for it does nothing: the interpreter's contexts look another way."""
    handle = SCHEDULE[name](loop, int)
    kinds = {type(each) for each in gc.get_referents(handle)}
    assert contextvars.Context not in kinds
    assert contextvars.Context in {type(handle._context)}
    assert contextvars.Context in {type(each) for each in gc.get_referents(handle)}


@only_on("loopx")
@every_way
def test_variables_are_no_context(loop, name):
    """Though it is them that a handle keeps: whoever finds some cannot pass them off as one."""
    recorder = ExceptionRecorder(loop)
    (variables,) = gc.get_referents(contextvars.copy_context())
    with contextlib.suppress(TypeError):         # at once, where handles keep variables
        SCHEDULE[name](loop, int, context=variables)
        run_turns(loop, 3)
        (failure,) = recorder.contexts
        raise failure["exception"]
    assert SHADE.get() == "outer"
