"""asyncio.StreamReader over the loop's transports: lines, separators, exact sizes, the end.

Owns: reading through asyncio.open_connection and start_server.
Thread: the test's own; peers block in worker threads.
Must not: test what the standard library's reader does on its own without a transport.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.net import Peer, run, tcp_pair, turns
from tests.support.payload import MIB, digest, pattern


@contextlib.asynccontextmanager
async def opened(
    family: str = "tcp", limit: int = 65_536
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, Peer]]:
    """asyncio's streams over one end of a connection, a blocking peer at the other."""
    ours, theirs = tcp_pair() if family == "tcp" else socket.socketpair()
    peer = Peer(theirs)
    reader, writer = await asyncio.open_connection(sock=ours, limit=limit)
    try:
        yield reader, writer, peer
    finally:
        peer.close()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_lines_in_pieces(loop: asyncio.AbstractEventLoop, family: str) -> None:
    async def main() -> None:
        async with opened(family) as (reader, _writer, peer):
            await peer.send(b"one\ntwo\nthr")
            assert await reader.readline() == b"one\n"
            assert await reader.readline() == b"two\n"
            waiting = asyncio.ensure_future(reader.readline())
            await turns()
            assert not waiting.done()
            await peer.send(b"ee\nfour")
            assert await waiting == b"three\n"
            peer.half_close()
            assert await reader.readline() == b"four"
            assert await reader.readline() == b""
            assert reader.at_eof()

    run(loop, main())


def test_iteration_over_lines(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with opened() as (reader, _writer, peer):
            lines = [b"line %d\n" % number for number in range(5000)]
            sending = asyncio.ensure_future(peer.send(b"".join(lines)))
            got = []
            async for line in reader:
                got.append(line)
                if len(got) == len(lines):
                    break
            await sending
            assert got == lines

    run(loop, main())


def test_readuntil(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with opened() as (reader, _writer, peer):
            await peer.send(b"head\r\n\r\nbody")
            assert await reader.readuntil(b"\r\n\r\n") == b"head\r\n\r\n"
            peer.half_close()
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await reader.readuntil(b"\r\n\r\n")
            assert caught.value.partial == b"body"

    run(loop, main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="several separators came with 3.13")
def test_readuntil_with_several_separators(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with opened() as (reader, _writer, peer):
            await peer.send(b"one;two,three")
            separators = (b",", b";")
            assert await reader.readuntil(separators) == b"one;"  # type: ignore[arg-type]
            assert await reader.readuntil(separators) == b"two,"  # type: ignore[arg-type]

    run(loop, main())


def test_readexactly(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with opened() as (reader, _writer, peer):
            data = pattern(3 * MIB)
            sending = asyncio.ensure_future(peer.send(data + b"tail"))
            assert digest(await reader.readexactly(len(data))) == digest(data)
            assert await reader.readexactly(0) == b""
            await sending
            peer.half_close()
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await reader.readexactly(5)
            assert (caught.value.partial, caught.value.expected) == (b"tail", 5)

    run(loop, main())


def test_read_in_every_way(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with opened() as (reader, _writer, peer):
            assert await reader.read(0) == b""
            await peer.send(b"abcdef")
            assert await reader.read(2) == b"ab"
            assert await reader.readexactly(1) == b"c"
            rest = asyncio.ensure_future(reader.read())
            await turns()
            assert not rest.done()
            await peer.send(b"ghi")
            peer.half_close()
            assert await rest == b"defghi"
            assert await reader.read(1) == b""
            assert reader.at_eof()

    run(loop, main())


def test_a_line_beyond_the_limit(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with opened(limit=100) as (reader, _writer, peer):
            await peer.send(b"x" * 500 + b"\nnext\n")
            with pytest.raises(ValueError, match="limit"):
                await reader.readline()
            # What of the long line is dropped depends on what had arrived; the rest is in order.
            rest = await reader.readuntil(b"next\n")
            assert rest.lstrip(b"x\n") == b"next\n"

    run(loop, main())


def test_limit_overrun_keeps_the_data(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with opened(limit=100) as (reader, _writer, peer):
            await peer.send(b"x" * 150)
            with pytest.raises(asyncio.LimitOverrunError) as caught:
                await reader.readuntil(b"|")
            assert 0 < caught.value.consumed <= 150
            assert await reader.readexactly(150) == b"x" * 150

    run(loop, main())


def test_the_limit_holds_the_peer_back(loop: asyncio.AbstractEventLoop) -> None:
    """A reader that nobody empties pauses its transport, and resumes it when it is emptied."""

    async def main() -> None:
        data = pattern(8 * MIB)
        async with opened(limit=64 * 1024) as (reader, writer, peer):
            sending = asyncio.ensure_future(peer.send(data))
            await reader.readexactly(1)
            transport: Any = writer.transport
            while transport.is_reading():
                await asyncio.sleep(0)
            assert not sending.done()
            got = await reader.readexactly(len(data) - 1)
            assert digest(data[:1] + got) == digest(data)
            await sending

    run(loop, main())


def test_a_reset_is_raised_where_it_is_read(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with opened() as (reader, _writer, peer):
            waiting = asyncio.ensure_future(reader.readline())
            await turns()
            peer.reset()
            with pytest.raises(ConnectionResetError):
                await waiting
            with pytest.raises(ConnectionResetError):
                await reader.read(1)

    run(loop, main())


def test_a_cancelled_read_loses_nothing(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with opened() as (reader, _writer, peer):
            for number in range(50):
                waiting = asyncio.ensure_future(reader.readexactly(8))
                await peer.send(b"%04d" % number)
                await turns(2)
                waiting.cancel()
                await asyncio.wait([waiting])
                await peer.send(b"%04d" % number)
                assert await reader.readexactly(8) == b"%04d" % number * 2

    run(loop, main())


def test_two_readers_at_once_are_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with opened() as (reader, _writer, peer):
            first = asyncio.ensure_future(reader.readline())
            await turns()
            with pytest.raises(RuntimeError, match="already waiting"):
                await reader.readline()
            await peer.send(b"line\n")
            assert await first == b"line\n"

    run(loop, main())
