"""What can be connected as a pipe: FIFOs, terminals, devices, sockets; and what cannot.

Runs on asyncio and on loopx.
"""

import asyncio
import contextlib
import os
import socket
import tty
from io import FileIO

import pytest

from tests.support.net import only_on, run, turns
from tests.support.pipes import over, pipe_files, read_exactly
from tests.support.recorders import Recorder


@contextlib.contextmanager
def terminal():
    """(its outer side, the side that a program sees), without translation of characters."""
    outer, inner = os.openpty()
    tty.setraw(inner)
    with FileIO(outer, "r+") as outside, FileIO(inner, "r+") as inside:
        yield outside, inside


def test_a_regular_file_is_refused(loop, tmp_path):
    async def main():
        with open(tmp_path / "file", "wb+") as file:
            with pytest.raises(ValueError, match=r"^Pipe transport is for pipes/sockets only\.$"):
                await loop.connect_read_pipe(Recorder, file)
            words = "^Pipe transport is only for pipes, sockets and character devices$"
            with pytest.raises(ValueError, match=words):
                await loop.connect_write_pipe(Recorder, file)
            assert not file.closed
            assert os.get_blocking(file.fileno())

    run(loop, main())


@only_on("loopx")
def test_a_closed_file_is_refused(loop):
    """asyncio's half-made transport complains of itself besides."""

    async def main():
        with pipe_files() as (reader, writer):
            reader.close()
            writer.close()
            with pytest.raises(ValueError, match="closed file"):
                await loop.connect_read_pipe(Recorder, reader)
            with pytest.raises(ValueError, match="closed file"):
                await loop.connect_write_pipe(Recorder, writer)

    run(loop, main())


@only_on("loopx")
def test_a_number_is_no_file(loop):
    """As above."""

    async def main():
        with pipe_files() as (reader, _):
            with pytest.raises(AttributeError):
                await loop.connect_read_pipe(Recorder, reader.fileno())

    run(loop, main())


def test_a_fifo(loop, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main():
        # Opened for reading without waiting for a writer, which then finds a reader.
        reading_fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with FileIO(reading_fd, "r") as reader, open(path, "wb", buffering=0) as writer:
            _, reading = await loop.connect_read_pipe(Recorder, reader)
            _, writing = await loop.connect_write_pipe(Recorder, writer)
            writing.transport.write(b"through the file system")
            assert await reading.read(23) == b"through the file system"
            writing.transport.close()
            assert await reading.lost is None
            assert await writing.lost is None

    run(loop, main())


def test_what_dev_stdin_opens(loop):
    """Another description of the same pipe: /dev/fd/N is what /dev/stdin points to."""

    async def main():
        with pipe_files() as (reader, writer):
            with open(f"/dev/fd/{reader.fileno()}", "rb", buffering=0) as again:
                _, protocol = await loop.connect_read_pipe(Recorder, again)
                writer.write(b"data")
                assert await protocol.read(4) == b"data"
                assert os.get_blocking(reader.fileno())
                await over(protocol)

    run(loop, main())


def test_a_buffered_file(loop):
    async def main():
        source, sink = os.pipe()
        with open(source, "rb") as reader, open(sink, "wb") as writer:
            _, reading = await loop.connect_read_pipe(Recorder, reader)
            _, writing = await loop.connect_write_pipe(Recorder, writer)
            writing.transport.write(b"data")
            assert await reading.read(4) == b"data"
            writing.transport.close()
            await reading.lost
            await writing.lost

    run(loop, main())


def test_both_ways_through_a_terminal(loop):
    async def main():
        with terminal() as (outside, inside):
            loop_fd = os.dup(inside.fileno())
            with FileIO(loop_fd, "w") as sink:
                _, reading = await loop.connect_read_pipe(Recorder, inside)
                _, writing = await loop.connect_write_pipe(Recorder, sink)
                outside.write(b"typed")
                assert await reading.read(5) == b"typed"
                writing.transport.write(b"printed")
                assert read_exactly(outside, 7) == b"printed"
                await over(writing)
                await over(reading)

    run(loop, main())


def test_a_terminal_that_is_hung_up_ends_reading(loop):
    """EIO, of which nobody is told but the protocol."""

    async def main():
        with terminal() as (outside, inside):
            _, protocol = await loop.connect_read_pipe(Recorder, outside)
            inside.write(b"bye")
            assert await protocol.read(3) == b"bye"
            inside.close()
            assert isinstance(await protocol.lost, OSError)
            assert "eof_received" not in protocol.calls

    run(loop, main())


def test_a_terminal_whose_output_nobody_reads(loop):
    async def main():
        with terminal() as (outside, inside):
            _, protocol = await loop.connect_write_pipe(Recorder, inside)
            protocol.transport.write(bytes(300_000))
            assert protocol.transport.get_write_buffer_size() > 0
            got = await asyncio.to_thread(read_exactly, outside, 300_000)
            assert got == bytes(300_000)
            await over(protocol)

    run(loop, main())


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
def test_a_device_that_swallows(loop, path):
    async def main():
        with open(path, "wb", buffering=0) as sink:
            _, protocol = await loop.connect_write_pipe(Recorder, sink)
            protocol.transport.write(bytes(1_000_000))
            assert protocol.transport.get_write_buffer_size() == 0
            protocol.transport.write_eof()
            assert await protocol.lost is None

    run(loop, main())


@only_on("loopx")
def test_reading_from_dev_null(loop):
    """epoll, and so asyncio, cannot watch a device that is always ready."""

    async def main():
        with open("/dev/null", "rb", buffering=0) as source:
            _, protocol = await loop.connect_read_pipe(Recorder, source)
            assert await protocol.lost is None
            assert "eof_received" in protocol.calls

    run(loop, main())


def test_the_ends_of_a_socket_pair(loop):
    async def main():
        ours, theirs = socket.socketpair()
        _, reading = await loop.connect_read_pipe(Recorder, ours)
        _, writing = await loop.connect_write_pipe(Recorder, theirs)
        writing.transport.write(b"data")
        assert await reading.read(4) == b"data"
        reading.transport.close()
        assert await writing.lost is None
        await reading.lost
        assert ours.fileno() == theirs.fileno() == -1

    run(loop, main())


@only_on("loopx")
def test_a_socket_to_write_to_may_be_answered(loop):
    """asyncio takes whatever can be read from the socket for the peer's going."""

    async def main():
        ours, theirs = socket.socketpair()
        with theirs, ours.dup() as answers:
            _, writing = await loop.connect_write_pipe(Recorder, ours)
            _, reading = await loop.connect_read_pipe(Recorder, answers)
            theirs.sendall(b"answer")
            assert await reading.read(6) == b"answer"
            await turns()
            writing.transport.write(b"question")
            assert theirs.recv(100) == b"question"
            await over(writing)
            await over(reading)

    run(loop, main())
