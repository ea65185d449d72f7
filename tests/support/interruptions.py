"""KeyboardInterrupt and SystemExit that a test raises in callbacks, and how it gets past them.

Owns: the two exceptions, and running a loop to the end however often it is interrupted.
Thread: the loop's own.
Must not: catch a plain KeyboardInterrupt or SystemExit: those are for the test run itself.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from tests.support.net import TIMEOUT_S

T = TypeVar("T")


class Interruption(KeyboardInterrupt):
    """What Ctrl-C raises in a callback."""


class Leaving(SystemExit):
    """What sys.exit() raises in a callback."""


class Misdeed(Exception):
    """What a loop hands to its exception handler."""


INTERRUPTIONS = (Interruption, Leaving)
both_errors = pytest.mark.parametrize("error", INTERRUPTIONS)


def run_through(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T]
) -> tuple[T, int]:
    """Run to the end however often the loop is interrupted: (result, how often)."""
    interrupted = 0
    task = loop.create_task(asyncio.wait_for(coro, TIMEOUT_S))
    task.add_done_callback(lambda _task: loop.stop())
    while not task.done():
        try:
            loop.run_forever()
        except INTERRUPTIONS:
            interrupted += 1
    return task.result(), interrupted
