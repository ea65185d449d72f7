"""create_task, task factories, eager start, and asyncio's own tools on the loop.

Runs on asyncio and on loopx, on the main thread.
"""

import asyncio
import contextvars
import sys

import pytest

from tests.support.loops import run_once, run_turns
from tests.support.net import run, since_python

USER = contextvars.ContextVar("USER", default="nobody")

since_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="since Python 3.12")


async def double(number):
    await asyncio.sleep(0)
    return 2 * number


def test_create_task_on_a_loop_that_rests(loop):
    task = loop.create_task(double(21))
    assert isinstance(task, asyncio.Task) and task.get_loop() is loop
    assert not task.done()
    assert loop.run_until_complete(task) == 42


def test_names(loop):
    named = loop.create_task(double(1), name="a name")
    plain = loop.create_task(double(2))
    assert named.get_name() == "a name"
    assert plain.get_name().startswith("Task-")
    loop.run_until_complete(asyncio.wait([named, plain]))


def test_a_running_loop_makes_tasks_of_its_own(loop):
    async def main():
        task, named = loop.create_task(double(1)), loop.create_task(double(2), name="a name")
        assert type(task) is asyncio.Task and task.get_loop() is named.get_loop() is loop
        assert task.get_name().startswith("Task-") and named.get_name() == "a name"
        with pytest.raises(TypeError, match="coroutine was expected"):
            loop.create_task("no coroutine")
        return [await task, await named]

    assert run(loop, main()) == [2, 4]
    assert run(loop, main()) == [2, 4]
    late = loop.create_task(double(3))
    assert late.get_loop() is loop
    assert run(loop, late) == 6


def test_a_task_starts_in_the_next_turn_and_in_order(loop):
    seen = []

    async def note(number):
        seen.append(number)

    tasks = [loop.create_task(note(number)) for number in range(10)]
    assert seen == []
    run_once(loop)
    assert seen == list(range(10))
    assert all(task.done() for task in tasks)


def test_tasks_have_contexts(loop):
    async def look():
        before = USER.get()
        USER.set("changed")
        return before

    USER.set("the caller")
    copied = loop.create_task(look())
    context = contextvars.copy_context()
    context.run(USER.set, "given")
    given = loop.create_task(look(), context=context)
    USER.set("nobody")
    loop.run_until_complete(asyncio.wait([copied, given]))
    assert (copied.result(), given.result()) == ("the caller", "given")
    assert context[USER] == "changed"
    assert USER.get() == "nobody"


def test_what_is_no_coroutine_is_refused(loop):
    for thing in (42, double, loop.create_future()):
        with pytest.raises(TypeError):
            loop.create_task(thing)


def test_all_tasks_and_current_task(loop):
    async def main():
        other = loop.create_task(double(1))
        assert asyncio.all_tasks() == {other, asyncio.current_task()}
        await other
        return asyncio.current_task() in asyncio.all_tasks()

    assert loop.run_until_complete(main())
    assert asyncio.all_tasks(loop) == set()


class MyTask(asyncio.Task):
    pass


def test_a_task_factory_is_used(loop):
    calls = []

    def factory(used_loop, coroutine, **options):
        calls.append((used_loop, options))
        return MyTask(coroutine, loop=used_loop, **options)

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    task = loop.create_task(double(1), name="named")
    assert type(task) is MyTask and task.get_name() == "named"
    assert loop.run_until_complete(task) == 2
    assert calls[0][0] is loop
    context = contextvars.copy_context()
    in_context = loop.create_task(double(2), context=context)
    assert calls[1][1]["context"] is context
    assert loop.run_until_complete(in_context) == 4


def test_the_factory_serves_coroutines_given_to_run_until_complete(loop):
    made = []

    def factory(used_loop, coroutine, **options):
        made.append(coroutine.__name__)
        return asyncio.Task(coroutine, loop=used_loop, **options)

    async def main():
        await asyncio.gather(double(1), double(2))
        async with asyncio.TaskGroup() as group:
            group.create_task(double(3))

    loop.set_task_factory(factory)
    loop.run_until_complete(main())
    assert made == ["main", "double", "double", "double"]


def test_the_factory_can_be_taken_away(loop):
    loop.set_task_factory(lambda used_loop, coro, **options: MyTask(coro, loop=used_loop))
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    task = loop.create_task(double(1))
    assert type(task) is asyncio.Task
    loop.run_until_complete(task)


def test_a_factory_must_be_callable(loop):
    with pytest.raises(TypeError, match="callable"):
        loop.set_task_factory("factory")
    assert loop.get_task_factory() is None


def test_a_factory_that_fails(loop):
    def factory(used_loop, coroutine, **options):
        coroutine.close()
        raise ZeroDivisionError("in the factory")

    loop.set_task_factory(factory)
    with pytest.raises(ZeroDivisionError, match="in the factory"):
        loop.create_task(double(1))
    loop.set_task_factory(None)
    assert loop.run_until_complete(double(1)) == 2


@since_312
def test_the_eager_factory(loop):
    async def main():
        started = []

        async def eager():
            started.append(asyncio.current_task())
            return "without a turn"

        outer = asyncio.current_task()
        task = loop.create_task(eager())
        assert task.done() and task.result() == "without a turn"
        assert started == [task]
        assert asyncio.current_task() is outer
        return await loop.create_task(double(4))

    loop.set_task_factory(asyncio.eager_task_factory)
    assert loop.run_until_complete(main()) == 8


@since_312
def test_an_eager_task_that_blocks_goes_on_in_the_loop(loop):
    async def main():
        future = loop.create_future()

        async def wait():
            return await future

        task = asyncio.Task(wait(), loop=loop, eager_start=True)
        assert not task.done()
        future.set_result("later")
        return await task

    assert loop.run_until_complete(main()) == "later"


@since_312
@since_python(3, 14)
def test_eager_start_of_create_task(loop):
    """On asyncio since 3.14; tasks themselves have had it since 3.12."""

    async def main():
        async def quick():
            return "quick"

        eager = loop.create_task(quick(), eager_start=True)
        assert eager.done()
        lazy = loop.create_task(quick(), eager_start=False)
        assert not lazy.done()
        return await lazy

    assert loop.run_until_complete(main()) == "quick"


@since_312
@since_python(3, 14)
def test_every_option_reaches_the_factory(loop):
    seen = []

    def factory(used_loop, coroutine, **options):
        seen.append(options)
        return asyncio.Task(coroutine, loop=used_loop, **options)

    async def main():
        loop.set_task_factory(factory)
        task = loop.create_task(double(1), name="n", eager_start=True)
        assert task.get_name() == "n"
        await task
        loop.set_task_factory(None)

    loop.run_until_complete(main())
    assert seen[0]["eager_start"] is True


def test_cancelling_a_task(loop):
    log = []

    async def wait():
        try:
            await loop.create_future()
        except asyncio.CancelledError as reason:
            log.append(str(reason))
            await asyncio.sleep(0)
            log.append("tidied up")
            raise

    task = loop.create_task(wait())
    run_once(loop)
    assert task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert log == ["enough", "tidied up"]


def test_a_task_cancelled_before_it_started(loop):
    ran = []

    async def never():
        ran.append(1)

    task = loop.create_task(never())
    task.cancel()
    run_turns(loop, 3)
    assert task.cancelled() and ran == []


def test_twenty_thousand_tasks(loop):
    async def main():
        return sum(await asyncio.gather(*(double(number) for number in range(20_000))))

    assert run(loop, main()) == 20_000 * 19_999


def test_a_task_group_cancels_its_others(loop):
    cancelled = []

    async def wait():
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def fail():
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(wait())
                group.create_task(fail())
        return caught.value.exceptions

    (failure,) = run(loop, main())
    assert isinstance(failure, ZeroDivisionError)
    assert cancelled == [1, 1, 1]


def test_locks_queues_and_conditions(loop):
    async def main():
        queue, lock, total = asyncio.Queue(3), asyncio.Lock(), []
        condition = asyncio.Condition()

        async def produce(start):
            for number in range(start, start + 50):
                await queue.put(number)

        async def consume():
            while (number := await queue.get()) is not None:
                async with lock:
                    total.append(number)
                async with condition:
                    condition.notify_all()

        consumers = [loop.create_task(consume()) for _ in range(4)]
        await asyncio.gather(produce(0), produce(50), produce(100))
        async with condition:
            await condition.wait_for(lambda: len(total) == 150)
        for _ in consumers:
            await queue.put(None)
        await asyncio.gather(*consumers)
        return sorted(total)

    assert run(loop, main()) == list(range(150))


def test_as_completed_and_shield(loop):
    async def after(delay_s, value):
        await asyncio.sleep(delay_s)
        return value

    async def main():
        delays = [0.03, 0.01, 0.02]
        order = [await item for item in asyncio.as_completed([after(d, d) for d in delays])]
        inner = loop.create_task(after(0.02, "survived"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(inner), 0.005)
        return order, await inner

    assert run(loop, main()) == ([0.01, 0.02, 0.03], "survived")


def test_a_class_in_the_place_of_asyncio_s_task_makes_the_tasks(loop, monkeypatch):
    class Own(asyncio.Task):
        pass

    monkeypatch.setattr(asyncio.tasks, "Task", Own)
    task = loop.create_task(asyncio.sleep(0, "done"), name="mine")
    assert type(task) is Own and task.get_name() == "mine"
    monkeypatch.undo()
    assert loop.run_until_complete(task) == "done"


def test_and_so_does_one_that_comes_while_the_loop_runs(loop, monkeypatch):
    class Own(asyncio.Task):
        def __init__(self, coro, **options):
            self.options = options
            super().__init__(coro, **options)

    async def main():
        monkeypatch.setattr(asyncio.tasks, "Task", Own)
        task = loop.create_task(asyncio.sleep(0, "done"))
        monkeypatch.undo()
        assert type(task) is Own and task.options["loop"] is loop
        if sys.version_info < (3, 14):
            assert task.options["name"] is None, "asyncio passes it"
        return await task

    assert run(loop, main()) == "done"
