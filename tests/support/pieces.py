"""A connection that is sent more than one receive brings, and what goes before the rest of it.

Owns: the protocols that note in which pieces and turns it came, and the data.
Thread: the loop's own; the peer's socket is written to from there.
Must not: wait for a piece by a future, which would be ready then, and go before the rest.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.bulk import settle
from tests.support.net import Peer, turns, with_peer
from tests.support.recorders import BufferedRecorder, HalfOpenRecorder, RecordingProtocol

DATA = bytes(range(256)) * 768               # several pieces, each of which fills its buffer
PIECES_AHEAD_MAX = 2


class Piecewise(RecordingProtocol):
    """Notes the pieces, and in which turn each came; does `at_first` at the first one."""

    keep_open = True

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.turns: list[int] = []
        self.at_first: Callable[[], Any] | None = None

    def note_data(self, name: str, data: bytes | memoryview) -> None:
        super().note_data(name, data)
        self.log.append("piece")
        self.turns.append(getattr(asyncio.get_running_loop(), "stats", dict)().get("turns", 0))
        action, self.at_first = self.at_first, None
        if action is not None:
            action()


class Plain(Piecewise, HalfOpenRecorder):
    """In pieces of 64 and 128 KiB on loopx, which asks for more each time that it is all."""


class Buffered(Piecewise, BufferedRecorder):
    """In pieces of 16 KiB."""


each_protocol = pytest.mark.parametrize("factory", [Plain, Buffered])


@contextlib.asynccontextmanager
async def used_to_bulk(factory: type[Piecewise]) -> AsyncIterator[tuple[Piecewise, Peer]]:
    async with with_peer(factory) as (protocol, peer):
        await settle(protocol, peer)
        await turns(5)
        protocol.log.clear()
        protocol.turns.clear()
        yield protocol, peer


@contextlib.asynccontextmanager
async def with_bulk(
    factory: type[Piecewise],
    at_first: Callable[[Piecewise], Any] | None = None,
    resumed: bool = True,
) -> AsyncIterator[tuple[Piecewise, Peer]]:
    """A connection that is to be told of DATA."""
    async with used_to_bulk(factory) as (protocol, peer):
        if at_first is not None:
            protocol.at_first = lambda: at_first(protocol)
        protocol.transport.pause_reading()
        await turns(5)
        peer.sock.sendall(DATA)
        if resumed:
            protocol.transport.resume_reading()
        yield protocol, peer


async def whole(protocol: Piecewise) -> bytes:
    """All of it. Nobody waits for that, whom a piece would make ready: the rest goes behind."""
    while len(protocol.buffer) < len(DATA):
        await asyncio.sleep(0.005)
    return bytes(protocol.buffer)


async def all_came(protocol: Piecewise, log: list[str], entry: str) -> None:
    """DATA is there, in more pieces than `entry` in the log has had to wait for."""
    assert await whole(protocol) == DATA
    await turns(5)
    pieces = log.count("piece")
    assert log.index(entry) <= PIECES_AHEAD_MAX, log
    assert pieces > log.index(entry) or comes_whole(protocol), log


def comes_whole(protocol: Piecewise) -> bool:
    """asyncio receives up to 256 KiB at once."""
    on_loopx = type(asyncio.get_running_loop()).__module__.startswith("loopx")
    return isinstance(protocol, Plain) and not on_loopx
