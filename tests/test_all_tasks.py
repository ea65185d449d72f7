"""The set of all tasks, whose add() is loopx's until Python 3.13 (sched/all_tasks.pxi).

Owns: tasks of one loop a test, and objects that stand in for tasks. Thread: the main thread. The
model is a weakref.WeakSet of its own, which must hold the same at every moment.
"""

import asyncio
import asyncio.tasks
import contextlib
import gc
import random
import sys
import weakref

import pytest

from tests.support.loops import require_loopx, run_turns
from tests.support.scripts import run_script
from tests.support.threads import HAS_GIL

require_loopx()

import loopx  # noqa: E402

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 14) or not HAS_GIL, reason="asyncio's tasks are in no WeakSet"
)
NAME = "_scheduled_tasks" if sys.version_info >= (3, 12) else "_all_tasks"


class Stand:
    """What is added in a task's place."""


@pytest.fixture
def tasks():
    loopx.new_event_loop().close()
    tasks = getattr(asyncio.tasks, NAME)
    assert "add" in vars(tasks)
    return tasks


def stands(tasks):
    return {item for item in tasks if type(item) is Stand}


def test_a_loop_that_is_made_changes_it_and_importing_does_not():
    done = run_script("loopx", f"""
        import asyncio, loopx
        tasks = asyncio.tasks.{NAME}
        print("add" in vars(tasks))
        loopx.new_event_loop().close()
        first = vars(tasks)["add"]
        loopx.new_event_loop().close()
        print(vars(tasks)["add"] is first)
    """)
    assert done.stdout.split() == ["False", "True"]


def test_somebody_elses_add_stays():
    done = run_script("loopx", f"""
        import asyncio, loopx
        tasks, added = asyncio.tasks.{NAME}, []
        plain = tasks.add
        tasks.add = lambda task: (added.append(task), plain(task))
        async def show():
            print(len(asyncio.all_tasks()), len(added))
        loopx.run(show())
    """)
    assert done.stdout.split() == ["1", "1"]


@pytest.mark.parametrize("maker", [loopx.new_event_loop, asyncio.new_event_loop])
def test_all_tasks_are_those_that_are_not_done(tasks, maker):
    async def wait(event):
        await event.wait()

    loop = maker()
    events = [asyncio.Event() for _ in range(10)]
    made = [loop.create_task(wait(event)) for event in events]
    run_turns(loop, 2)
    assert asyncio.all_tasks(loop) == set(made)
    for event in events[::2]:
        event.set()
    run_turns(loop, 3)
    assert asyncio.all_tasks(loop) == set(made[1::2])
    for event in events:
        event.set()
    run_turns(loop, 3)
    loop.close()
    alive = weakref.ref(made[0])
    made.clear()
    gc.collect()
    assert alive() is None and not asyncio.all_tasks(loop)


@pytest.mark.parametrize("seed", range(5))
def test_it_holds_what_a_weak_set_does(tasks, seed):
    from _weakrefset import _IterationGuard

    chance = random.Random(seed)
    model, kept, held = weakref.WeakSet(), [], []
    for _ in range(3000):
        action = chance.randrange(7)
        if action < 3:
            kept.append(Stand())
            tasks.add(kept[-1])
            model.add(kept[-1])
        elif action < 6 and kept:
            kept.pop(chance.randrange(len(kept)))
        elif held:
            held.pop().close()
        else:
            held.append(contextlib.ExitStack())     # as while somebody walks through both
            held[0].enter_context(_IterationGuard(tasks))
            held[0].enter_context(_IterationGuard(model))
        assert stands(tasks) == set(model) == set(kept)
        gone = [reference for reference in tasks._pending_removals if reference() is None]
        assert len(gone) == len(model._pending_removals)
    for stack in held:
        stack.close()


def test_what_a_weak_set_refuses(tasks):
    class Unhashable:
        __hash__ = None

    before = len(tasks)
    with pytest.raises(TypeError, match="weak reference"):
        tasks.add(5)
    with pytest.raises(TypeError, match="unhashable"):
        tasks.add(Unhashable())
    assert len(tasks) == before


def test_adding_twice_and_discarding(tasks):
    item = Stand()
    before = len(tasks)
    tasks.add(item)
    tasks.add(item)
    assert len(tasks) == before + 1 and item in tasks
    tasks.discard(item)
    assert len(tasks) == before and item not in tasks
