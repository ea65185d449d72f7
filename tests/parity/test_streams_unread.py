"""What a NativeStreamReader was fed and nobody has read yet: kept as it came, and seen as a buffer.

Owns: what is copied, what is held, and what Python code sees and does in between.
Thread: the test's own.
Must not: compare reads with asyncio's event by event (test_streams_native.py).
"""

import asyncio
import sys
import threading
from typing import Any

import pytest

from loopx._core import LoopCore, NativeStreamReader
from tests.support.net import only_on, run, tcp_pair, turns

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
        data = b"a line" * 1_000 + b"\n"       # less than bulk
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
        reader = fed(loop)
        read = asyncio.ensure_future(reader.readexactly(99_999))
        await turns(2)
        reader.feed_data(data)
        assert sys.getrefcount(data) == held + 1
        assert len(await read) == 99_999
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
def test_bulk_that_nobody_waits_for_is_not_held(loop: Loop) -> None:
    """Its memory is the loop's, of which it has little."""
    data = bytes(8_192)
    held = sys.getrefcount(data)
    reader = fed(loop, data)
    assert sys.getrefcount(data) == held
    assert reader._buffer == data


def test_a_buffer_of_before(loop: Loop) -> None:
    """What is written to it comes behind what was fed since, on loopx; nobody waits for it."""

    async def main() -> None:
        reader = fed(loop)
        before = reader._buffer
        reader.feed_data(b"a")
        before += b"b"
        assert await reader.readexactly(2) == b"ab"

    run(loop, main())


@pytest.mark.parametrize("length", [1_000, 100_000])
def test_what_is_unread_stays_while_others_receive(loop: Loop, length: int) -> None:
    """A loop receives into the same memory again as soon as nobody holds it."""

    async def main() -> None:
        pairs = [tcp_pair() for _ in range(2)]
        (first, first_out), (other, other_out) = [
            await asyncio.open_connection(sock=ours, limit=length) for ours, _ in pairs]
        kept = []
        for number in range(30):
            data = bytes([number]) * length
            for (_, theirs), reader in zip(pairs, (first, other), strict=True):
                theirs.sendall(data)
                if reader is other or number % 3 == 0:
                    kept.append((data, await reader.readexactly(length)))
                else:                          # a part of it, and the rest unread meanwhile
                    kept.append((data[:10], await reader.readexactly(10)))
            if number % 3:
                kept.append((data[10:], await first.readexactly(length - 10)))
        assert all(read == data for data, read in kept)
        for (_, theirs), writer in zip(pairs, (first_out, other_out), strict=True):
            theirs.close()
            writer.close()
            await writer.wait_closed()

    run(loop, main())


def test_looks_from_another_thread(loop: Loop) -> None:
    """Without a GIL, too, nothing is lost, doubled or in the wrong place."""
    reader = fed(loop)
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            repr(reader)

    async def main() -> None:
        for number in range(3_000):
            for part in range(3):
                reader.feed_data(b"%d-%d " % (number, part))
            assert await reader.readuntil(b" ") == b"%d-0 " % number
            expected = b"%d-1 %d-2 " % (number, number)
            assert await reader.readexactly(len(expected)) == expected

    thread = threading.Thread(target=look)
    thread.start()
    try:
        run(loop, main())
    finally:
        over.set()
        thread.join()


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
