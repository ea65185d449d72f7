"""Read pipes: data, pausing, the end of the file, closing.

Runs on asyncio and on loopx; the other end is a blocking file.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import socket
import struct
import termios

import pytest

from tests.support.net import only_on, run, turns
from tests.support.payload import digest, pattern
from tests.support.pipes import over, pipe_files, read_pipe, write_all
from tests.support.recorders import Recorder

BIG_BYTES = 100_000_000


class Hashing(Recorder):
    def __init__(self):
        super().__init__()
        self.sha = hashlib.sha256()

    def data_received(self, data):
        assert type(data) is bytes
        self.received_bytes += len(data)
        self.sha.update(data)
        self._arrived.set()


def waiting_bytes(file):
    """How much the pipe holds."""
    return struct.unpack("i", fcntl.ioctl(file, termios.FIONREAD, b"\0" * 4))[0]


def test_what_it_is(loop):
    async def main():
        with pipe_files() as (reader, _):
            transport, protocol = await loop.connect_read_pipe(Recorder, reader)
            assert protocol.calls == ["connection_made"]
            assert protocol.transport is transport
            assert isinstance(transport, asyncio.ReadTransport)
            assert not isinstance(transport, asyncio.WriteTransport)
            assert transport.get_extra_info("pipe") is reader
            assert transport.get_extra_info("peername", "none") == "none"
            assert transport.get_protocol() is protocol
            assert transport.is_reading() and not transport.is_closing()
            assert f"fd={reader.fileno()}" in repr(transport)
            assert not os.get_blocking(reader.fileno())
            transport.close()
            assert transport.is_closing() and not transport.is_reading()
            await protocol.lost
            assert "closed" in repr(transport)
            assert reader.closed

    run(loop, main())


def test_extra_information_of_the_maker(loop):
    async def main():
        with pipe_files() as (reader, _):
            protocol = Recorder()
            transport = loop._make_read_pipe_transport(reader, protocol, None, {"addr": "there"})
            await protocol.made
            assert transport.get_extra_info("addr") == "there"
            assert transport.get_extra_info("pipe") is reader
            transport.close()
            await protocol.lost

    run(loop, main())


def test_data_then_the_end(loop):
    async def main():
        async with read_pipe() as (protocol, writer):
            writer.write(b"one")
            assert await protocol.read(3) == b"one"
            writer.write(b"two")
            writer.close()
            assert await protocol.lost is None
            assert bytes(protocol.buffer) == b"two"
            assert protocol.calls == [
                "connection_made", "data_received", "eof_received", "connection_lost",
            ]  # fmt: skip

    run(loop, main())


def test_what_was_there_before_comes_after_connection_made(loop):
    async def main():
        with pipe_files() as (reader, writer):
            writer.write(b"early")
            writer.close()
            _, protocol = await loop.connect_read_pipe(Recorder, reader)
            await protocol.lost
            assert protocol.calls == [
                "connection_made", "data_received", "eof_received", "connection_lost",
            ]  # fmt: skip
            assert bytes(protocol.buffer) == b"early"

    run(loop, main())


def test_the_end_closes_whatever_eof_received_answers(loop):
    class Stubborn(Recorder):
        keep_open = True

    async def main():
        async with read_pipe(Stubborn) as (protocol, writer):
            writer.close()
            assert await protocol.lost is None

    run(loop, main())


def test_a_hundred_megabytes(loop):
    data = pattern(BIG_BYTES)

    async def main():
        async with read_pipe(Hashing) as (protocol, writer):
            await asyncio.gather(asyncio.to_thread(write_all, writer, data), protocol.lost)
            assert protocol.received_bytes == BIG_BYTES
            assert protocol.sha.hexdigest() == digest(data)

    run(loop, main())


def test_pausing_leaves_the_data_in_the_pipe(loop):
    async def main():
        async with read_pipe() as (protocol, writer):
            protocol.transport.pause_reading()
            protocol.transport.pause_reading()
            assert not protocol.transport.is_reading()
            writer.write(b"kept")
            await turns()
            assert protocol.received_bytes == 0
            assert waiting_bytes(writer) == 4
            protocol.transport.resume_reading()
            protocol.transport.resume_reading()
            assert await protocol.read(4) == b"kept"

    run(loop, main())


def test_a_slow_reader_stops_the_writer(loop):
    """Output faster than it is read: nothing is taken that is not asked for."""
    data = pattern(10_000_000)

    class Sipping(Hashing):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async def main():
        async with read_pipe(Sipping) as (protocol, writer):
            writing = asyncio.ensure_future(asyncio.to_thread(write_all, writer, data))
            await protocol.received(1)
            await turns()
            before = protocol.received_bytes
            assert before <= 262_144
            assert not writing.done()
            while not protocol.lost.done():
                protocol.transport.resume_reading()
                await asyncio.sleep(0)
            await writing
            assert protocol.sha.hexdigest() == digest(data)

    run(loop, main())


def test_paused_in_connection_made(loop):
    class Paused(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        async with read_pipe(Paused) as (protocol, writer):
            writer.write(b"data")
            await turns()
            assert protocol.received_bytes == 0
            protocol.transport.resume_reading()
            assert await protocol.read(4) == b"data"

    run(loop, main())


def test_the_end_while_paused_is_told_after_resuming(loop):
    async def main():
        async with read_pipe() as (protocol, writer):
            protocol.transport.pause_reading()
            writer.write(b"last")
            writer.close()
            await turns()
            assert protocol.calls == ["connection_made"]
            protocol.transport.resume_reading()
            await protocol.lost
            assert bytes(protocol.buffer) == b"last"

    run(loop, main())


def test_closing_in_data_received(loop):
    class Closing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.close()

    async def main():
        async with read_pipe(Closing) as (protocol, writer):
            writer.write(b"x")
            assert await protocol.lost is None
            protocol.transport.close()
            protocol.transport.pause_reading()
            protocol.transport.resume_reading()
            assert protocol.calls == ["connection_made", "data_received", "connection_lost"]

    run(loop, main())


def test_another_protocol(loop):
    async def main():
        async with read_pipe() as (protocol, writer):
            other = Recorder()
            other.transport = protocol.transport
            protocol.transport.set_protocol(other)
            writer.write(b"data")
            assert await other.read(4) == b"data"
            protocol.transport.set_protocol(protocol)

    run(loop, main())


@only_on("loopx")
@pytest.mark.parametrize(
    ("set_bytes", "written_bytes", "bytes_after"),
    [(None, 65_536, 262_144), (None, 60_000, 65_536), (131_072, 131_072, 131_072)],
    ids=["full", "not full", "of a size that was set"],
)
def test_a_pipe_that_was_full_is_made_larger(loop, set_bytes, written_bytes, bytes_after):
    async def main():
        async with read_pipe() as (protocol, writer):
            if set_bytes is not None:
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, set_bytes)
            for _ in range(2):
                writer.write(bytes(written_bytes))
                assert await protocol.read(written_bytes) == bytes(written_bytes)
            assert fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) == bytes_after

    run(loop, main())


@only_on("loopx")
def test_few_pipes_are_made_larger_at_a_time(loop):
    """A user may have 64 MiB of them, and those beyond that are small."""

    async def main():
        async with contextlib.AsyncExitStack() as stack:

            async def size_of_a_full_one(stack):
                protocol, writer = await stack.enter_async_context(read_pipe())
                writer.write(bytes(65_536))
                await protocol.read(65_536)
                return fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)

            sizes_bytes = [await size_of_a_full_one(stack) for _ in range(40)]
            assert sizes_bytes == [262_144] * 32 + [65_536] * 8
            await stack.aclose()
            assert await size_of_a_full_one(stack) == 262_144      # those are closed

    run(loop, main())


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_messages_are_read_whole(loop, kind):
    async def main():
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
            _, protocol = await loop.connect_read_pipe(Recorder, ours)
            for length in (200_000, 3, 100_000, 65_537, 131_072):
                theirs.send(bytes(length))
                assert await protocol.read(length) == bytes(length)
            await over(protocol)

    run(loop, main())


def test_streams_read_lines(loop):
    async def main():
        with pipe_files() as (reader, writer):
            stream = asyncio.StreamReader()
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), reader
            )
            writer.write(b"one\ntwo\nrest")
            writer.close()
            assert [line async for line in stream] == [b"one\n", b"two\n", b"rest"]
            transport.close()

    run(loop, main())


def test_cancelling_the_connecting_closes_the_pipe(loop):
    async def main():
        with pipe_files() as (reader, _):
            connecting = asyncio.ensure_future(loop.connect_read_pipe(Recorder, reader))
            await asyncio.sleep(0)
            connecting.cancel()
            assert isinstance(
                (await asyncio.gather(connecting, return_exceptions=True))[0],
                asyncio.CancelledError,
            )
            await turns()
            assert reader.closed

    run(loop, main())
