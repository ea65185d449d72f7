"""Ways to run a loop on one thread after the other.

Owns the workers and the three orders in which threads take turns: ended before the next begins,
alive but asleep while others run, two in turn.  Used from the thread that runs the tests.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

import pytest

from tests.support.patience import PATIENCE

TIMEOUT_S = 20.0 * PATIENCE

Work = Callable[[], Any]


class Threads(Protocol):
    """Threads that run pieces of work in turn."""

    def run(self, work: Work) -> Any:
        """Run `work` on the next thread and return what it returns, or raise what it raises."""

    def end(self) -> None:
        """Wait until no thread is left."""


class Worker:
    """A thread that lives until `end()` and runs what it is given, piece by piece."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self._done.put((work(), None))
            except BaseException as failure:
                self._done.put((None, failure))

    def run(self, work: Work) -> Any:
        self._work.put(work)
        result, failure = self._done.get(timeout=2 * TIMEOUT_S)
        if failure is not None:
            raise failure
        return result

    def end(self) -> None:
        self._work.put(None)
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()


class EndedThreads:
    """Runs each piece on a new thread, which has ended before the next begins."""

    def run(self, work: Work) -> Any:
        worker = Worker()
        try:
            return worker.run(work)
        finally:
            worker.end()

    def end(self) -> None:
        pass


class LivingThreads:
    """Runs each piece on a new thread, while all the threads before stay alive, asleep."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def run(self, work: Work) -> Any:
        self._workers.append(Worker())
        return self._workers[-1].run(work)

    def end(self) -> None:
        for worker in self._workers:
            worker.end()


class TwoThreads:
    """Runs the pieces on two threads in turn: the loop comes back to a thread that it left."""

    def __init__(self) -> None:
        self._workers = [Worker(), Worker()]

    def run(self, work: Work) -> Any:
        self._workers.reverse()
        return self._workers[0].run(work)

    def end(self) -> None:
        for worker in self._workers:
            worker.end()


@pytest.fixture(params=[EndedThreads, LivingThreads, TwoThreads], ids=lambda kind: kind.__name__)
def threads(request: pytest.FixtureRequest) -> Iterator[Threads]:
    made: Threads = request.param()
    yield made
    made.end()


def complete(loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any]) -> Any:
    """Run to the end of `awaitable` on the calling thread."""
    return loop.run_until_complete(asyncio.wait_for(awaitable, TIMEOUT_S))


def move(threads: Threads, loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any]) -> Any:
    """Run to the end of `awaitable` on the next thread."""
    return threads.run(lambda: complete(loop, awaitable))


def finish(loop: asyncio.AbstractEventLoop, *transports: asyncio.WriteTransport) -> None:
    """Abort on the thread of the test, which is one more move."""

    async def main() -> None:
        for transport in transports:
            transport.abort()
        # asyncio gives a descriptor back in the turn after the next.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    complete(loop, main())
