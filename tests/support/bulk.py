"""Connections that are used to bulk, as many messages have come.

Owns: how much it takes, and a loop that judges no poll anew.
Thread: the test's own; the peer's socket is written to from there.
Must not: know how a loop receives, but for the name of what loopx's timers call.
"""

import asyncio
from typing import Any

import pytest

from tests.support.net import Peer
from tests.support.recorders import RecordingProtocol

BULK_BYTES = 20_000
SETTLED = 40                    # so many messages, and one poll goes on telling


async def settle(protocol: RecordingProtocol, peer: Peer) -> None:
    for _ in range(SETTLED):
        peer.sock.sendall(b"s" * BULK_BYTES)
        assert await protocol.read(BULK_BYTES) == b"s" * BULK_BYTES


@pytest.fixture
def never_anew(loop: asyncio.AbstractEventLoop) -> None:
    """loopx's poll is not ended by its timer, which would hide that something was overlooked."""
    call_later = loop.call_later

    def without_it(delay: float, callback: Any, *args: Any, **options: Any) -> Any:
        if getattr(callback, "__name__", "") != "_judge_poll":
            return call_later(delay, callback, *args, **options)
        return None

    if type(loop).__module__.startswith("loopx"):
        loop.call_later = without_it  # type: ignore[method-assign]
