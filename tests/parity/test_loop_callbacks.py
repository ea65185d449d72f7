"""call_soon and call_soon_threadsafe: order, turns, context variables, cancellation.

Runs on asyncio and on loopx, on the main thread.
"""

import asyncio
import contextvars
import gc
import inspect
import random
import socket
import weakref

import pytest

from tests.support.loops import ExceptionRecorder, run_once, run_turns

COLOUR = contextvars.ContextVar("COLOUR", default="none")

SCHEDULERS = ("call_soon", "call_soon_threadsafe")


@pytest.mark.parametrize("name", SCHEDULERS)
def test_callbacks_run_in_the_order_of_the_calls(loop, name):
    seen = []
    for number in range(1000):
        getattr(loop, name)(seen.append, number)
    run_once(loop)
    assert seen == list(range(1000))


def test_both_ways_of_scheduling_share_one_order(loop):
    seen = []
    names = random.Random(1).choices(SCHEDULERS, k=200)
    for number, name in enumerate(names):
        getattr(loop, name)(seen.append, number)
    run_once(loop)
    assert seen == list(range(200))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_arguments_arrive(loop, count):
    seen = []
    loop.call_soon(lambda *args: seen.append(args), *range(count))
    run_once(loop)
    assert seen == [tuple(range(count))]


def test_nothing_runs_before_the_loop_does(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon_threadsafe(seen.append, 2)
    loop.call_later(0, seen.append, 3)
    assert seen == []


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_a_callback_adds_waits_for_the_next_turn(loop, name):
    seen = []

    def outer():
        seen.append("outer")
        getattr(loop, name)(seen.append, "inner")

    loop.call_soon(outer)
    loop.call_soon(seen.append, "sibling")
    run_once(loop)
    assert seen == ["outer", "sibling"]
    run_once(loop)
    assert seen == ["outer", "sibling", "inner"]


def test_a_chain_advances_one_link_a_turn(loop):
    seen = []

    def link(number):
        seen.append(number)
        loop.call_soon(link, number + 1)

    loop.call_soon(link, 0)
    for turn in range(50):
        run_once(loop)
        assert seen == list(range(turn + 1))


def test_the_ready_queue_grows_and_wraps(loop):
    """Many sizes of backlog, so that a ring buffer wraps at every offset."""
    seen = []
    expected = []
    chance = random.Random(2)
    number = 0
    for _ in range(60):
        for _ in range(chance.randrange(0, 300)):
            loop.call_soon(seen.append, number)
            expected.append(number)
            number += 1
        run_once(loop)
    assert seen == expected


def test_a_callback_sees_the_context_of_its_scheduling(loop):
    seen = []
    for colour in ("red", "green"):
        COLOUR.set(colour)
        loop.call_soon(lambda: seen.append(COLOUR.get()))
        loop.call_soon_threadsafe(lambda: seen.append(COLOUR.get()))
    COLOUR.set("blue")
    run_once(loop)
    assert seen == ["red", "red", "green", "green"]
    assert COLOUR.get() == "blue"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_given_context_is_used_and_kept(loop, name):
    context = contextvars.copy_context()
    seen = []

    def change(colour):
        seen.append(COLOUR.get())
        COLOUR.set(colour)

    context.run(COLOUR.set, "start")
    getattr(loop, name)(change, "first", context=context)
    getattr(loop, name)(change, "second", context=context)
    run_once(loop)
    assert seen == ["start", "first"]
    assert context[COLOUR] == "second"


def test_changes_of_context_do_not_leak_between_callbacks(loop):
    seen = []
    COLOUR.set("outer")

    def change():
        COLOUR.set("changed")

    loop.call_soon(change)
    loop.call_soon(lambda: seen.append(COLOUR.get()))
    loop.call_later(0, lambda: seen.append(COLOUR.get()))
    run_turns(loop, 3)
    assert seen == ["outer", "outer"]
    assert COLOUR.get() == "outer"


def test_a_callback_that_fails_leaves_its_context(loop):
    recorder = ExceptionRecorder(loop)
    context = contextvars.copy_context()
    seen = []

    def fail():
        COLOUR.set("failed")
        raise ValueError

    loop.call_soon(fail, context=context)
    loop.call_soon(lambda: seen.append(COLOUR.get()), context=context)
    run_once(loop)
    assert seen == ["failed"]
    assert len(recorder.contexts) == 1


def test_a_callback_may_run_what_enters_its_own_context(loop):
    """The context is entered while the callback runs, so entering it again must fail."""
    context = contextvars.copy_context()
    seen = []

    def reenter():
        with pytest.raises(RuntimeError, match="already entered"):
            context.run(int)
        seen.append("refused")

    loop.call_soon(reenter, context=context)
    run_once(loop)
    assert seen == ["refused"]
    assert context.run(int) == 0


def test_cancel_before_and_from_an_earlier_callback(loop):
    seen = []
    loop.call_soon(seen.append, "cancelled before").cancel()
    later = []
    loop.call_soon(lambda: later[0].cancel())
    later.append(loop.call_soon(seen.append, "cancelled by the callback before"))
    loop.call_soon(seen.append, "kept")
    run_once(loop)
    assert seen == ["kept"]


def test_cancel_of_a_threadsafe_call(loop):
    seen = []
    handle = loop.call_soon_threadsafe(seen.append, 1)
    handle.cancel()
    run_turns(loop, 2)
    assert seen == []
    assert handle.cancelled()


def test_a_callback_may_cancel_itself(loop):
    seen = []
    handles = []
    handles.append(loop.call_soon(lambda: (handles[0].cancel(), seen.append("ran"))))
    run_once(loop)
    assert seen == ["ran"]
    assert handles[0].cancelled()


def test_cancelling_lets_go_of_the_callback_at_once(loop):
    class Big:
        def __call__(self, *args):
            raise AssertionError("cancelled")

    def later(callback, argument):
        return loop.call_later(9, callback, argument)

    for schedule in (loop.call_soon, loop.call_soon_threadsafe, later):
        callback, argument = Big(), Big()
        alive = [weakref.ref(callback), weakref.ref(argument)]
        handle = schedule(callback, argument)
        del callback, argument
        handle.cancel()
        gc.collect()
        assert [reference() for reference in alive] == [None, None]


def test_any_callable_will_do(loop):
    class Callable:
        def __init__(self):
            self.calls = 0

        def __call__(self):
            self.calls += 1

        def method(self):
            self.calls += 10

    thing = Callable()
    loop.call_soon(thing)
    loop.call_soon(thing.method)
    loop.call_soon(type(thing).method, thing)
    run_once(loop)
    assert thing.calls == 21


def test_what_cannot_be_called_is_refused_in_debug_mode(loop):
    loop.set_debug(True)
    for schedule in (
        loop.call_soon,
        loop.call_soon_threadsafe,
        lambda callback: loop.call_later(0, callback),
        lambda callback: loop.call_at(0, callback),
    ):
        with pytest.raises(TypeError):
            schedule(42)


def test_a_coroutine_function_is_refused_in_debug_mode(loop):
    async def nobody_awaits_me():
        pass

    loop.set_debug(True)
    for schedule in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(TypeError, match="coroutine"):
            schedule(nobody_awaits_me)
    with pytest.raises(TypeError, match="coroutine"):
        loop.call_later(0, nobody_awaits_me)


def test_unknown_keywords_are_refused(loop):
    for schedule in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(TypeError):
            schedule(print, colour="red")
    with pytest.raises(TypeError):
        loop.call_later(0, print, colour="red")
    with pytest.raises(TypeError):
        loop.call_soon()


def test_input_is_seen_before_the_callbacks_of_the_turn_after(loop):
    """I/O that is ready when a turn begins is dispatched no later than in the next turn."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        seen = []

        def readable():
            seen.append(ours.recv(1))
            loop.remove_reader(ours)

        loop.add_reader(ours, readable)
        run_once(loop)
        theirs.send(b"x")
        run_turns(loop, 3)
        assert seen == [b"x"]


def test_a_hundred_thousand_callbacks_do_not_stay(loop):
    """Handles are let go as they run: the collector sees no more of them afterwards."""
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(10):
        for _ in range(10_000):
            loop.call_soon(int)
        run_once(loop)
    gc.collect()
    assert len(gc.get_objects()) - before < 1000


def test_futures_wake_their_waiters_in_order(loop):
    async def main():
        future = loop.create_future()
        seen = []

        async def wait(number):
            await future
            seen.append(number)

        tasks = [loop.create_task(wait(number)) for number in range(20)]
        await asyncio.sleep(0)
        future.set_result(None)
        await asyncio.gather(*tasks)
        return seen

    assert loop.run_until_complete(main()) == list(range(20))


ODD_CALLS = {
    "nothing": lambda call: call(),
    "no callback": lambda call: call(context=None),
    "an unknown name": lambda call: call(int, colour=1),
    "a callback twice": lambda call: call(int, callback=int),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("odd", ODD_CALLS)
def test_wrong_arguments_of_call_soon(loop, name, odd):
    with pytest.raises(TypeError):
        ODD_CALLS[odd](getattr(loop, name))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_call_soon_in_every_shape(loop, name):
    call = getattr(loop, name)
    seen = []

    def note(*args):
        seen.append((args, COLOUR.get()))

    context = contextvars.copy_context()
    context.run(COLOUR.set, "given")
    built = "".join(["con", "text"])  # equal to the name, not the same object
    handles = [
        call(note),
        call(note, None),
        call(note, (1, 2)),
        call(note, 1, 2, context=None),
        call(note, context=context),
        call(note, 1, context=context),
        call(note, 1, 2, **{built: context}),
        call(callback=note),
        type(loop).__dict__.get(name, getattr(type(loop), name))(loop, note, 3),
    ]
    arguments = [(), (None,), ((1, 2),), (1, 2), (), (1,), (1, 2), (), (3,)]
    assert [handle._args for handle in handles] == arguments
    run_once(loop)
    shapes = [COLOUR.get()] * 4 + ["given"] * 3 + [COLOUR.get()] * 2
    assert seen == list(zip(arguments, shapes, strict=True))
    assert [handle._args for handle in handles] == arguments
    handles[1].cancel()
    assert handles[1]._args is None


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_signature_of_call_soon(loop, name):
    parameters = inspect.signature(getattr(loop, name)).parameters
    assert list(parameters) == ["callback", "args", "context"]
    assert parameters["context"].default is None
    assert getattr(loop, name).__doc__
