"""What a NativeStreamReader was fed and nobody has read yet: kept as it came, and seen as a buffer.

Owns: what is copied, what is held, and what Python code sees and does in between.
Thread: the test's own.
Must not: compare reads with asyncio's event by event (test_streams_native.py).
"""

import asyncio
import sys
from typing import Any

import pytest

from loopx._core import LoopCore, NativeStreamReader
from tests.support.net import only_on, run

Loop = asyncio.AbstractEventLoop
on_loopx = only_on("loopx")


def fed(loop: Loop, *data: bytes) -> Any:
    """A reader of each loop's kind."""
    reader: Any = asyncio.StreamReader(loop=loop)
    if isinstance(loop, LoopCore):
        reader.__class__ = NativeStreamReader
    for piece in data:
        reader.feed_data(piece)
    return reader


@on_loopx
def test_a_read_of_all_that_came_copies_nothing(loop: Loop) -> None:
    async def main() -> None:
        data = b"a line" * 1_000 + b"\n"
        for read in ("readline", "readuntil"):
            assert await getattr(fed(loop, data), read)() is data
        assert await fed(loop, data).readexactly(len(data)) is data
        assert await fed(loop, data).read(len(data) + 1) is data

    run(loop, main())


@on_loopx
def test_what_was_read_is_not_held_by_what_is_unread(loop: Loop) -> None:
    async def main() -> None:
        data = bytes(100_000)
        held = sys.getrefcount(data)
        reader = fed(loop, data)
        await reader.readexactly(40_000)
        assert sys.getrefcount(data) == held + 1
        await reader.readexactly(59_999)
        assert sys.getrefcount(data) == held
        assert await reader.readexactly(1) == b"\0"

    run(loop, main())


def test_the_buffer_has_what_is_unread(loop: Loop) -> None:
    """Libraries look at it; some clear it, or put another one in its place."""

    async def main() -> None:
        reader = fed(loop, b"one\ntwo\nthree")
        assert await reader.readline() == b"one\n"
        assert reader._buffer == bytearray(b"two\nthree")
        reader.feed_data(b"!\n")
        assert await reader.readline() == b"two\n"
        assert reader._buffer == bytearray(b"three!\n")
        reader._buffer.clear()
        reader.feed_data(b"four\n")
        reader._buffer += b"five\n"
        assert await reader.readline() == b"four\n"
        reader._buffer = bytearray(b"six")
        reader.feed_eof()
        assert not reader.at_eof()
        assert await reader.read(9) == b"six"
        assert reader.at_eof()

    run(loop, main())


@on_loopx
@pytest.mark.parametrize("nonsense", [None, 1, b"bytes"])
def test_nonsense_in_the_readers_attributes(loop: Loop, nonsense: Any) -> None:
    """Nothing crashes, though what stood there is lost."""

    async def main() -> None:
        reader = fed(loop, b"lost")
        vars(reader)["_unread_piece"] = nonsense
        assert reader._buffer == bytearray()
        vars(reader)["_unread_piece"] = nonsense
        reader.feed_data(b"came")
        assert await reader.readexactly(4) == b"came"

    run(loop, main())
