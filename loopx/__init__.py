"""loopx: an asyncio event loop for Linux on io_uring.

Public names only, nothing else is promised: `run`, `install`, `new_event_loop`,
`EventLoopPolicy`, `Loop`, `EngineUnavailable`, `__version__`. Importing makes no loop, no thread
and no system call of io_uring, so that it works where io_uring is forbidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loopx.errors import EngineUnavailable
from loopx.loop import Loop, new_event_loop
from loopx.policy import install
from loopx.runner import run

if TYPE_CHECKING:
    from loopx.policy import EventLoopPolicy

__version__ = "0.1.0"

__all__ = (
    "EngineUnavailable",
    "EventLoopPolicy",
    "Loop",
    "__version__",
    "install",
    "new_event_loop",
    "run",
)


def __getattr__(name: str) -> Any:
    # Made on demand: event-loop policies are deprecated from Python 3.14 on and gone in 3.16.
    if name == "EventLoopPolicy":
        from loopx import policy

        return policy.EventLoopPolicy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
