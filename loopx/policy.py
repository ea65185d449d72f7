"""The event-loop policy, for programs that choose their loop through asyncio's policies.

Owns the class `EventLoopPolicy`, made when it is first asked for: Python 3.14 warns about policies
and 3.16 no longer has them, and importing loopx must neither warn nor fail there. Any thread may
call what is here; asyncio's policy is one for the whole process.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import warnings
from asyncio import unix_events
from typing import TYPE_CHECKING, Any

from loopx.loop import Loop, new_event_loop

_NO_POLICIES = (
    "this version of Python has no event-loop policies: use loopx.run(main()), or "
    "asyncio.Runner(loop_factory=loopx.new_event_loop)"
)

if TYPE_CHECKING:

    class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
        """asyncio's default policy, but new loops are loopx's."""

        def new_event_loop(self) -> Loop:
            """A loop of loopx."""


@functools.cache
def _policy_class() -> type[Any]:
    """Make the class; AttributeError with what to do instead where policies are gone."""
    # The deprecated name warns from 3.14 on; the class behind it does not.
    base: Any = getattr(unix_events, "_DefaultEventLoopPolicy", None)
    if base is None and sys.version_info < (3, 14):
        base = asyncio.DefaultEventLoopPolicy
    if base is None:
        raise AttributeError(f"loopx.EventLoopPolicy: {_NO_POLICIES}")

    def make_loop(self: Any) -> Loop:
        """A loop of loopx."""
        return new_event_loop()

    return type(
        "EventLoopPolicy",
        (base,),
        {
            "__doc__": "asyncio's default policy, but new loops are loopx's.",
            "__module__": "loopx",
            "new_event_loop": make_loop,
        },
    )


def __getattr__(name: str) -> Any:
    if name == "EventLoopPolicy":
        return _policy_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def install() -> None:
    """Make loopx the loop of every asyncio.run() and asyncio.new_event_loop() to come.

    It sets asyncio's event-loop policy, so it warns (DeprecationWarning) from Python 3.14 on, and
    raises AttributeError from 3.16 on, where `loopx.run` is the way.
    """
    policy = _policy_class()()
    if sys.version_info < (3, 14):
        asyncio.set_event_loop_policy(policy)
    else:
        _set_deprecated_policy(policy)


def _set_deprecated_policy(policy: Any) -> None:
    """Set the policy with one warning, ours, that points at the caller of `install`."""
    warnings.warn(
        "loopx.install() needs asyncio's event-loop policies, which Python 3.16 removes; use "
        "loopx.run(), or asyncio.Runner(loop_factory=loopx.new_event_loop)",
        DeprecationWarning,
        stacklevel=3,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(policy)
