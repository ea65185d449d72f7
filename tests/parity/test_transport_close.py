"""Ends of a stream: close with data pending, abort, write_eof and half-closed connections.

Owns: what reaches the peer in each case, and when connection_lost comes.
Thread: the test's own; the peer blocks in worker threads.
Must not: assume how much the kernel takes at once.
"""

import asyncio
import contextlib
import socket

import pytest

from tests.support.net import connected, run, small_send_buffer, turns, with_peer
from tests.support.payload import MIB, digest, pattern
from tests.support.recorders import BufferedRecorder, HalfOpenRecorder, Recorder


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_close_flushes_what_is_pending(loop: asyncio.AbstractEventLoop, family: str) -> None:
    async def main() -> None:
        data = pattern(5 * MIB)
        async with with_peer(Recorder, family) as (protocol, peer):
            transport = protocol.transport
            transport.write(data)
            transport.close()
            assert transport.is_closing()
            await turns()
            assert not protocol.lost.done()
            total, sha, _ = await peer.digest_to_eof()
            assert (total, sha) == (len(data), digest(data))
            assert await protocol.lost is None
            assert transport.get_write_buffer_size() == 0

    run(loop, main())


def test_close_right_after_many_small_writes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        pieces = [b"%d," % number for number in range(5000)]
        async with with_peer(Recorder) as (protocol, peer):
            for piece in pieces:
                protocol.transport.write(piece)
            protocol.transport.close()
            assert await peer.recv_to_eof() == b"".join(pieces)
            assert await protocol.lost is None

    run(loop, main())


def test_close_in_connection_made_after_a_write(loop: asyncio.AbstractEventLoop) -> None:
    class Refuser(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write(b"no thanks")
            self.transport.close()

    async def main() -> None:
        async with connected(Recorder, Refuser) as (client, server):
            assert await client.lost is None
            assert bytes(client.buffer) == b"no thanks"
            assert await server.lost is None

    run(loop, main())


def test_no_data_is_received_after_close(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.write(b"x" * 4 * MIB)  # keeps the close pending
            protocol.transport.close()
            await peer.send(b"too late")
            await turns()
            assert "data_received" not in protocol.calls
            with contextlib.suppress(ConnectionResetError):  # for what was left unread
                await peer.recv_to_eof()
            await protocol.lost
            assert protocol.calls[-1] == "connection_lost"
            assert "data_received" not in protocol.calls

    run(loop, main())


def test_closed_descriptor_is_given_back(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            sock = protocol.transport.get_extra_info("socket")
            assert sock.fileno() >= 0
            protocol.transport.close()
            assert await protocol.lost is None
            assert await peer.recv() == b""  # the end of stream went out
            await turns()
            assert sock.fileno() == -1

    run(loop, main())


def test_abort_drops_what_is_pending(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(16 * MIB)
        async with with_peer(Recorder) as (protocol, peer):
            transport = protocol.transport
            transport.write(data)
            assert transport.get_write_buffer_size() > 0
            transport.abort()
            assert transport.is_closing()
            assert await protocol.lost is None
            assert transport.get_write_buffer_size() == 0
            got = bytearray()
            with contextlib.suppress(ConnectionResetError):
                while piece := await peer.recv(MIB):
                    got += piece
            assert len(got) < len(data)
            assert got == data[: len(got)]

    run(loop, main())


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_small_write_then_abort_still_arrives(
    loop: asyncio.AbstractEventLoop, family: str
) -> None:
    """What the kernel could take at the time of the write is not lost by an abort."""

    async def main() -> None:
        async with with_peer(Recorder, family) as (protocol, peer):
            protocol.transport.write(b"last ")
            protocol.transport.write(b"words")
            protocol.transport.abort()
            assert await peer.recv_to_eof() == b"last words"
            assert await protocol.lost is None

    run(loop, main())


def test_abort_while_paused_and_while_reading_is_paused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.pause_reading()
            protocol.transport.write(b"x" * 16 * MIB)
            assert protocol.paused.is_set()
            await peer.send(b"unread")
            protocol.transport.abort()
            assert await protocol.lost is None
            assert protocol.calls == ["connection_made", "pause_writing", "connection_lost"]

    run(loop, main())


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_write_eof_after_pending_data(loop: asyncio.AbstractEventLoop, family: str) -> None:
    async def main() -> None:
        data = pattern(3 * MIB)
        async with with_peer(Recorder, family) as (protocol, peer):
            transport = protocol.transport
            assert transport.can_write_eof() is True
            transport.write(data)
            transport.write_eof()
            transport.write_eof()
            assert not transport.is_closing()
            assert await peer.recv_to_eof() == data
            await peer.send(b"still here")
            assert await protocol.read(10) == b"still here"
            peer.close()
            assert await protocol.lost is None

    run(loop, main())


def test_write_eof_without_data(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.write_eof()
            assert await peer.recv() == b""
            await peer.send(b"x")
            assert await protocol.read(1) == b"x"

    run(loop, main())


def test_write_after_write_eof_is_an_error(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.write(b"all")
            protocol.transport.write_eof()
            with pytest.raises(RuntimeError, match=r"write_eof\(\)"):
                protocol.transport.write(b"more")
            with pytest.raises(RuntimeError, match=r"write_eof\(\)"):
                protocol.transport.writelines([b"more"])
            assert await peer.recv_to_eof() == b"all"
            await turns()
            assert not protocol.lost.done()

    run(loop, main())


def test_write_eof_after_close_is_quiet(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, _peer):
            protocol.transport.close()
            protocol.transport.write_eof()
            assert await protocol.lost is None
            protocol.transport.write_eof()

    run(loop, main())


def test_close_after_write_eof_with_data_pending(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(3 * MIB)
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.write(data)
            protocol.transport.write_eof()
            protocol.transport.close()
            assert await peer.recv_to_eof() == data
            assert await protocol.lost is None

    run(loop, main())


def test_eof_received_returning_none_closes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            peer.half_close()
            assert await protocol.lost is None
            assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
            assert await peer.recv() == b""

    run(loop, main())


def test_eof_received_returning_none_flushes_first(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(4 * MIB)
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.write(data)
            peer.half_close()
            await protocol.ended
            assert await peer.recv_to_eof() == data
            assert await protocol.lost is None

    run(loop, main())


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_eof_received_returning_true_keeps_the_other_half(
    loop: asyncio.AbstractEventLoop, family: str
) -> None:
    async def main() -> None:
        data = pattern(4 * MIB)
        async with with_peer(HalfOpenRecorder, family) as (protocol, peer):
            await peer.send(b"question")
            peer.half_close()
            await protocol.ended
            await turns()
            assert not protocol.transport.is_closing()
            assert not protocol.lost.done()
            protocol.transport.write(data)
            protocol.transport.close()
            assert await peer.recv_to_eof() == data
            assert await protocol.lost is None
            assert protocol.calls.count("eof_received") == 1
            assert bytes(protocol.buffer) == b"question"

    run(loop, main())


def test_half_open_then_write_eof_then_close(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(HalfOpenRecorder) as (protocol, peer):
            peer.half_close()
            await protocol.ended
            protocol.transport.write(b"answer")
            protocol.transport.write_eof()
            assert await peer.recv_to_eof() == b"answer"
            await turns()
            assert not protocol.lost.done()
            protocol.transport.close()
            assert await protocol.lost is None

    run(loop, main())


def test_half_open_on_a_buffered_protocol(loop: asyncio.AbstractEventLoop) -> None:
    class HalfOpenBuffered(BufferedRecorder):
        keep_open = True

    async def main() -> None:
        async with with_peer(HalfOpenBuffered) as (protocol, peer):
            await peer.send(b"question")
            peer.half_close()
            await protocol.ended
            protocol.transport.write(b"answer")
            assert await peer.recv_exactly(6) == b"answer"
            protocol.transport.close()
            assert await protocol.lost is None

    run(loop, main())


def test_both_sides_close_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for _ in range(20):
            async with connected(Recorder, Recorder) as (client, server):
                client.transport.write(b"from the client")
                server.transport.write(b"from the server")
                client.transport.close()
                server.transport.close()
                await client.lost
                await server.lost
                assert client.calls.count("connection_lost") == 1
                assert server.calls.count("connection_lost") == 1

    run(loop, main())


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_close_while_the_kernel_takes_little(
    loop: asyncio.AbstractEventLoop, family: str
) -> None:
    """Many partial sends between close() and connection_lost."""

    async def main() -> None:
        data = pattern(300_000)
        async with with_peer(Recorder, family) as (protocol, peer):
            small_send_buffer(protocol.transport.get_extra_info("socket"))
            protocol.transport.write(data)
            protocol.transport.close()
            assert protocol.transport.get_write_buffer_size() > 0
            got = bytearray()
            while piece := await peer.recv(5000):
                got += piece
            assert got == data
            assert await protocol.lost is None

    run(loop, main())


def test_socket_shut_down_by_the_user(loop: asyncio.AbstractEventLoop) -> None:
    """`shutdown` on the transport's own socket ends the stream as if the peer had done it."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            assert await protocol.lost is None
            assert await peer.recv() == b""

    run(loop, main())
