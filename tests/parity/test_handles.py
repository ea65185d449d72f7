"""What call_soon, call_later and call_at return: state, order, equality, repr, context.

Runs on asyncio and on loopx, on the main thread.
"""

import asyncio
import contextvars
import functools
import gc
import pickle
import random
import sys
import weakref

import pytest

from tests.support.children import output_of
from tests.support.loops import ExceptionRecorder, run_once, run_turns
from tests.support.net import only_on
from tests.support.threads import HAS_GIL, in_thread

NAME = contextvars.ContextVar("NAME")


def callback(*args):
    """Something with a name that a repr can show."""


SCHEDULE = {
    "call_soon": lambda loop, *args, **kw: loop.call_soon(callback, *args, **kw),
    "call_soon_threadsafe": lambda loop, *args, **kw: loop.call_soon_threadsafe(
        callback, *args, **kw
    ),
    "call_later": lambda loop, *args, **kw: loop.call_later(100, callback, *args, **kw),
    "call_at": lambda loop, *args, **kw: loop.call_at(loop.time() + 100, callback, *args, **kw),
}
every_way = pytest.mark.parametrize("name", SCHEDULE)
timed_way = pytest.mark.parametrize("name", ["call_later", "call_at"])


@every_way
def test_cancelled_tells_the_state(loop, name):
    handle = SCHEDULE[name](loop)
    assert handle.cancelled() is False
    assert handle.cancel() is None
    assert handle.cancelled() is True
    handle.cancel()
    assert handle.cancelled() is True


def test_a_handle_that_ran_is_not_cancelled(loop):
    soon = loop.call_soon(callback)
    later = loop.call_later(0, callback)
    run_turns(loop, 3)
    assert not soon.cancelled() and not later.cancelled()
    soon.cancel()
    later.cancel()
    assert soon.cancelled() and later.cancelled()


@every_way
def test_a_handle_can_be_referenced_weakly(loop, name):
    handle = SCHEDULE[name](loop)
    reference = weakref.ref(handle)
    assert reference() is handle
    handle.cancel()
    run_once(loop)


@every_way
def test_a_handle_cannot_be_pickled(loop, name):
    handle = SCHEDULE[name](loop)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(handle)
    handle.cancel()


@every_way
def test_repr_names_kind_and_callback(loop, name):
    handle = SCHEDULE[name](loop)
    kind = "TimerHandle" if name in ("call_later", "call_at") else "Handle"
    assert kind in repr(handle).split()[0]
    assert "callback(" in repr(handle)
    assert "cancelled" not in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle)


@timed_way
def test_repr_of_a_timer_tells_when(loop, name):
    handle = SCHEDULE[name](loop)
    assert f"when={handle.when()}" in repr(handle)
    handle.cancel()


@every_way
def test_repr_in_debug_mode_tells_where_it_was_made(loop, name):
    loop.set_debug(True)
    handle = SCHEDULE[name](loop, 1, "two")
    assert "created at" in repr(handle)
    assert "test_handles.py" in repr(handle)
    assert "callback(1, 'two')" in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle)


@pytest.mark.parametrize("wrap", ["partial", "method", "object", "lambda"])
def test_repr_of_odd_callbacks(loop, wrap):
    class Thing:
        def method(self):
            pass

        def __call__(self):
            pass

        def __repr__(self):
            return "<a thing>"

    odd = {
        "partial": functools.partial(callback, 1),
        "method": Thing().method,
        "object": Thing(),
        "lambda": lambda: None,
    }[wrap]
    expected = {"partial": "callback", "method": "method", "object": "thing", "lambda": "<lambda>"}
    handle = loop.call_soon(odd)
    assert expected[wrap] in repr(handle)
    run_once(loop)


def test_repr_of_a_callback_whose_repr_fails(loop):
    class Nasty:
        def __repr__(self):
            raise ZeroDivisionError("in repr")

        def __call__(self):
            raise ValueError("in call")

    recorder = ExceptionRecorder(loop)
    handle = loop.call_soon(Nasty())
    with pytest.raises(ZeroDivisionError):
        repr(handle)
    handle.cancel()
    run_once(loop)
    assert recorder.contexts == []


def test_when_is_what_call_at_was_given(loop):
    for when in (loop.time() + 10.25, 1e9, 0.0, -5.0):
        handle = loop.call_at(when, callback)
        assert handle.when() == when
        handle.cancel()
        assert handle.when() == when


def test_when_of_call_later(loop):
    before = loop.time()
    handle = loop.call_later(10, callback)
    after = loop.time()
    assert before + 10 <= handle.when() <= after + 10
    handle.cancel()


def test_timers_are_ordered_by_when(loop):
    base = loop.time() + 100
    early, late = loop.call_at(base, callback), loop.call_at(base + 1, callback)
    assert early < late and late > early
    assert early <= late and late >= early
    assert not early > late and not late < early
    assert not early >= late and not late <= early
    assert early <= early and early >= early
    assert not early < early and not early > early
    early.cancel()
    late.cancel()


def test_sorting_timers(loop):
    base = loop.time() + 100
    offsets = random.Random(3).sample(range(10_000), 200)
    handles = [loop.call_at(base + offset, callback) for offset in offsets]
    expected = sorted(base + offset for offset in offsets)
    assert [handle.when() for handle in sorted(handles)] == expected
    assert min(handles).when() == base + min(offsets)
    for handle in handles:
        handle.cancel()


def test_equality_of_timers(loop):
    when = loop.time() + 100
    first = loop.call_at(when, callback, 1)
    same = loop.call_at(when, callback, 1)
    other_argument = loop.call_at(when, callback, 2)
    other_callback = loop.call_at(when, print, 1)
    other_time = loop.call_at(when + 1, callback, 1)
    assert first == same and not first != same
    assert first <= same and first >= same
    for other in (other_argument, other_callback, other_time):
        assert first != other and not first == other
    same.cancel()
    assert first != same
    for handle in (first, other_argument, other_callback, other_time):
        handle.cancel()


def test_timers_are_hashable(loop):
    when = loop.time() + 100
    first, same = loop.call_at(when, callback), loop.call_at(when, callback)
    assert hash(first) == hash(same)
    soon = loop.call_soon(callback)
    assert len({first, soon, soon}) == 2
    for handle in (first, same, soon):
        handle.cancel()


def test_a_timer_compares_with_timers_only(loop):
    timer = loop.call_later(100, callback)
    assert timer != "timer"
    assert not timer == 42
    for compare in (lambda: timer < 1, lambda: timer <= 1, lambda: timer > 1, lambda: timer >= 1):
        with pytest.raises(TypeError):
            compare()
    timer.cancel()


def test_plain_handles_have_no_order(loop):
    first, second = loop.call_soon(callback), loop.call_soon(callback)
    with pytest.raises(TypeError):
        first < second  # noqa: B015
    assert first != second and first == first
    run_once(loop)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has it since Python 3.12")
@every_way
def test_get_context(loop, name):
    context = contextvars.copy_context()
    handle = SCHEDULE[name](loop, context=context)
    assert handle.get_context() is context
    handle.cancel()
    NAME.set("mine")
    handle = SCHEDULE[name](loop)
    assert handle.get_context()[NAME] == "mine"
    handle.cancel()


@every_way
def test_a_handle_does_not_keep_a_closed_loop_alive_for_ever(loop_factory, name):
    loop = loop_factory()
    handle = SCHEDULE[name](loop)
    alive = weakref.ref(loop)
    handle.cancel()
    loop.close()
    del loop, handle
    gc.collect()
    assert alive() is None


def test_a_reference_cycle_through_a_handle_is_collected(loop):
    class Node:
        pass

    node = Node()
    node.handle = loop.call_later(1000, callback, node)
    alive = weakref.ref(node)
    node.handle.cancel()
    run_once(loop)
    del node
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("shown", ["to the exception handler", "in debug mode"])
def test_a_cycle_through_a_handle_that_the_loop_showed_is_collected(loop, shown):
    """Nobody kept what call_soon returned, but the callback's own object comes to know it."""
    debug = shown == "in debug mode"

    class Node:
        def step(self):
            if not debug:
                raise ZeroDivisionError
            self.handle = loop._current_handle

    node = Node()
    alive = weakref.ref(node)
    loop.set_debug(debug)
    loop.set_exception_handler(
        lambda loop, context: setattr(alive(), "handle", context["handle"])
    )
    loop.call_soon(node.step)
    loop.call_soon(int)
    run_once(loop)
    assert node.handle._callback == node.step
    del node
    gc.collect()
    assert alive() is None


@only_on("loopx")
@pytest.mark.skipif(not HAS_GIL, reason="without a GIL nothing tells who else has a handle")
@pytest.mark.parametrize("name", ["call_soon", "call_soon_threadsafe"])
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_the_collector_need_not_look_at_handles_that_nobody_kept(loop, name, where):
    def schedule():
        for _ in range(1000):
            SCHEDULE[name](loop)

    before = handles_collected()
    in_thread(schedule) if where == "elsewhere" else schedule()
    assert handles_collected() - before < 10
    run_once(loop)


def handles_collected():
    return sum("Handle" in type(thing).__name__ for thing in gc.get_objects())


def test_a_pending_handle_keeps_its_arguments_alive(loop):
    class Node:
        pass

    seen = []
    node = Node()
    alive = weakref.ref(node)
    loop.call_later(0.001, seen.append, node)
    del node
    gc.collect()
    assert alive() is not None
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert seen == [alive()]


@pytest.mark.parametrize("name", ["call_soon", "call_soon_threadsafe"])
def test_handles_that_are_each_the_argument_of_the_next_are_freed_without_recursion(
    loop_kind, name
):
    """The last one keeps all the others; a stack of 8 MiB holds 100,000 destructors at most."""
    source = """
        import sys
        from tests.support.loops import make_loop

        loop, handle = make_loop(sys.argv[1]), None
        for _ in range(300_000):
            handle = getattr(loop, sys.argv[2])(id, handle)
        loop.call_soon(loop.stop)
        loop.run_forever()
        del handle
        loop.close()
        print("freed")
    """
    assert output_of(source, loop_kind, name) == ["freed"]


def test_the_handle_of_a_future_callback_knows_its_context(loop):
    """Futures pass their context on to call_soon by keyword."""
    seen = []

    async def main():
        future = loop.create_future()
        context = contextvars.copy_context()
        context.run(NAME.set, "of the callback")
        future.add_done_callback(lambda _: seen.append(NAME.get()), context=context)
        future.set_result(None)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert seen == ["of the callback"]
