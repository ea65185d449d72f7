"""`loopx.run`: a program's main coroutine on a loop of ours.

Owns nothing: asyncio.Runner makes, runs and closes the loop. Called on any thread that runs no
loop. Must not do more than asyncio.run does, or programs would change by changing over.
"""

from __future__ import annotations

import asyncio
from asyncio.events import _get_running_loop
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from loopx.loop import new_event_loop

_T = TypeVar("_T")


def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = new_event_loop,
    **run_options: Any,
) -> _T:
    """Run `main` on a new loop, close the loop, and return what `main` returned.

    As asyncio.run: afterwards remaining tasks are cancelled, asynchronous generators and the
    default executor (up to 5 minutes) are finished. `debug` sets debug mode unless None.
    `loop_factory` makes the loop; None takes the event-loop policy's. `run_options` go to
    asyncio.Runner.run (`context`). Raises RuntimeError when this thread already runs a loop.
    """
    if _get_running_loop() is not None:
        raise RuntimeError("loopx.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main, **run_options)
