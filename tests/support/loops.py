"""Which loops the tests run on, and the fixtures that make them.

Owns the list of kinds ('asyncio', 'loopx', and 'uvloop' when asked for), the factories and the
check that each loop made by a test was closed with nothing in flight.  Used from the thread that
runs the tests.  A loopx that cannot be imported is an error: only LOOPX_TEST_LOOPS=asyncio in the
environment leaves it out.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

KNOWN_KINDS = ("asyncio", "loopx", "uvloop")
DEFAULT_KINDS = ("asyncio", "loopx")
LOOK_EVERY_S = 0.001
LINGER_S = 0.02


def selected_kinds() -> tuple[str, ...]:
    """The kinds named by LOOPX_TEST_LOOPS (separated by commas); asyncio and loopx by default."""
    names = os.environ.get("LOOPX_TEST_LOOPS", ",".join(DEFAULT_KINDS))
    kinds = tuple(name.strip() for name in names.split(",") if name.strip())
    unknown = [kind for kind in kinds if kind not in KNOWN_KINDS]
    if unknown or not kinds:
        raise pytest.UsageError(f"LOOPX_TEST_LOOPS={names!r}: choose from {KNOWN_KINDS}")
    return kinds


def require_loopx() -> None:
    """Skip the calling module where the environment left loopx out; loopx must import else."""
    if "loopx" not in selected_kinds():
        pytest.skip("LOOPX_TEST_LOOPS leaves loopx out", allow_module_level=True)
    importlib.import_module("loopx._core")


def make_loop(kind: str) -> asyncio.AbstractEventLoop:
    """A new loop of this kind, which is not set as anybody's current loop."""
    return factory_of(kind)()


def factory_of(kind: str) -> LoopFactory:
    """What a user would pass as `loop_factory`."""
    if kind == "asyncio":
        return asyncio.SelectorEventLoop
    factory: LoopFactory = importlib.import_module(kind).new_event_loop
    return factory


if "uvloop" in selected_kinds():
    # uvloop's first loop that runs opens what stays open for the process: no leak of a test's.
    first = make_loop("uvloop")
    first.run_until_complete(asyncio.sleep(0))
    first.close()
    del first


def operations_in_flight(loop: asyncio.AbstractEventLoop) -> int:
    """What the kernel still owns of this loop; 0 for a loop that does not count."""
    stats = getattr(loop, "stats", None)
    return 0 if stats is None else int(stats()["operations_in_flight"])


class LoopMaker:
    """Makes loops of one kind and remembers them, weakly, to look at them after the test."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._factory = factory_of(kind)
        # Helpers that name the factory to another process look at where it comes from.
        self.__module__ = self._factory.__module__
        self._made: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    def __call__(self) -> asyncio.AbstractEventLoop:
        loop = self._factory()
        self._made.append(weakref.ref(loop))
        return loop

    def complaints(self) -> list[str]:
        """One line for each loop that was left open or closed with operations in flight."""
        found = []
        for loop in filter(None, (reference() for reference in self._made)):
            if not loop.is_closed():
                found.append(f"{loop!r} was left open")
                if not loop.is_running():
                    loop.close()
            elif operations_in_flight(loop):
                found.append(f"{loop!r} was closed with {operations_in_flight(loop)} in flight")
        return found


@pytest.fixture(params=selected_kinds())
def loop_kind(request: pytest.FixtureRequest) -> str:
    """One of KNOWN_KINDS."""
    return str(request.param)


@pytest.fixture
def loop_factory(loop_kind: str) -> Iterator[LoopMaker]:
    """A callable that makes a new loop of the kind under test; the caller closes it."""
    maker = LoopMaker(loop_kind)
    yield maker
    complaints = maker.complaints()
    assert not complaints, complaints


@pytest.fixture
def loop(loop_factory: LoopFactory) -> Iterator[asyncio.AbstractEventLoop]:
    """A new loop, closed after the test, which must leave no task behind on it."""
    made = loop_factory()
    try:
        yield made
        pending = [] if made.is_closed() else asyncio.all_tasks(made)
        for task in pending:
            task.cancel()
        if pending:
            made.run_until_complete(asyncio.wait(pending))
    finally:
        made.close()
    assert not pending, f"tasks left on the loop: {pending}"


def run_once(loop: asyncio.AbstractEventLoop) -> None:
    """One turn: what is ready now runs, what it schedules does not."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def run_turns(loop: asyncio.AbstractEventLoop, turns: int) -> None:
    for _ in range(turns):
        run_once(loop)


def run_until(loop: asyncio.AbstractEventLoop, condition: Callable[[], object]) -> None:
    """Run turn after turn until the condition holds; the test's time limit ends it else."""
    while not condition():
        run_once(loop)


def run_on_until(loop: asyncio.AbstractEventLoop, condition: Callable[[], object]) -> None:
    """Run without a stop until the condition holds, which the test's time limit waits for, and
    then a little longer, for what must not follow."""

    def look() -> None:
        if condition():
            loop.call_later(LINGER_S, loop.stop)
        else:
            loop.call_later(LOOK_EVERY_S, look)

    loop.call_soon(look)
    loop.run_forever()


class ExceptionRecorder:
    """An exception handler that keeps what it is given."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.contexts: list[dict[str, Any]] = []
        loop.set_exception_handler(self)

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.contexts.append(context)

    @property
    def messages(self) -> list[str]:
        return [context["message"] for context in self.contexts]
