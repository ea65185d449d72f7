"""Whose descriptor a pipe's is: it is closed once, and no other that took its number.

Runs on asyncio and on loopx.
"""

import asyncio
import gc
import os
from io import FileIO

import pytest

from tests.support.net import only_on, run, turns
from tests.support.pipes import over, pipe_files, read_pipe
from tests.support.recorders import Recorder


class Counting(FileIO):
    """Counts how often it is closed."""

    closed_times = 0

    def close(self):
        if not self.closed:
            self.closed_times += 1
        super().close()


def counting_pipe():
    reader, writer = os.pipe()
    return Counting(reader, "r"), Counting(writer, "w")


def open_numbers(count):
    """Descriptors that take the numbers which have just become free."""
    return [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]


def test_it_is_closed_once(loop):
    async def main():
        reader, writer = counting_pipe()
        _, reading = await loop.connect_read_pipe(Recorder, reader)
        _, writing = await loop.connect_write_pipe(Recorder, writer)
        writing.transport.close()
        await writing.lost
        await reading.lost
        await turns()
        assert (reader.closed_times, writer.closed_times) == (1, 1)
        numbers = open_numbers(4)
        reading.transport.close()
        writing.transport.close()
        reader.close()
        writer.close()
        await turns()
        del reading, writing, reader, writer
        gc.collect()
        for number in numbers:
            os.close(number)  # OSError if somebody closed it

    run(loop, main())


def test_closed_by_its_owner_first(loop):
    """The number may be another's by the time the transport is closed."""

    async def main():
        reader, writer = counting_pipe()
        _, reading = await loop.connect_read_pipe(Recorder, reader)
        _, writing = await loop.connect_write_pipe(Recorder, writer)
        reader.close()
        writer.close()
        numbers = open_numbers(4)
        await over(reading)
        await over(writing)
        await turns()
        for number in numbers:
            os.close(number)

    run(loop, main())


@only_on("loopx")
def test_a_number_that_became_anothers_is_not_used(loop):
    """asyncio reads from, and writes to, whatever has the number now."""

    async def main():
        with pipe_files() as (reader, writer), pipe_files() as (other, other_writer):
            _, reading = await loop.connect_read_pipe(Recorder, reader)
            _, writing = await loop.connect_write_pipe(Recorder, writer)
            numbers = (reader.fileno(), writer.fileno())
            reader.close()
            writer.close()
            os.dup2(other.fileno(), numbers[0])
            os.dup2(other_writer.fileno(), numbers[1])
            writing.transport.write(b"nowhere")
            assert isinstance(await writing.lost, OSError)
            other_writer.write(b"others")
            await turns()
            assert other.read(100) == b"others"
            assert not reading.received_bytes
            for number in numbers:
                os.close(number)
            await over(reading)

    loop.set_exception_handler(lambda _loop, _context: None)
    run(loop, main())


def test_a_second_pipe_on_one_descriptor(loop):
    """As two parts of a program do that both write to stdout."""

    async def main():
        with pipe_files() as (reader, writer):
            again = FileIO(os.dup(writer.fileno()), "w")
            shared = FileIO(writer.fileno(), "w", closefd=False)
            _, first = await loop.connect_write_pipe(Recorder, writer)
            _, second = await loop.connect_write_pipe(Recorder, again)
            _, third = await loop.connect_write_pipe(Recorder, shared)
            for number, protocol in enumerate((first, second, third)):
                protocol.transport.write(b"%d" % number)
            assert reader.read(100) == b"012"
            await over(third)
            first.transport.write(b"3")
            await over(first)
            second.transport.write(b"4")
            assert reader.read(100) == b"34"
            await over(second)
            assert reader.read(100) == b""

    run(loop, main())


def test_one_after_the_other_on_one_descriptor(loop):
    async def main():
        with pipe_files() as (reader, writer):
            for data in (b"one", b"two"):
                shared = FileIO(reader.fileno(), "r", closefd=False)
                _, protocol = await loop.connect_read_pipe(Recorder, shared)
                writer.write(data)
                assert await protocol.read(3) == data
                await over(protocol)

    run(loop, main())


def test_a_paused_pipe_that_is_dropped_warns_and_closes(loop):
    async def main():
        with pipe_files() as (reader, _):
            transport, _ = await loop.connect_read_pipe(asyncio.Protocol, reader)
            transport.pause_reading()
            await turns()
            with pytest.warns(ResourceWarning, match="unclosed transport"):
                del transport
                gc.collect()
            assert reader.closed

    run(loop, main())


def test_many_pipes_leave_no_descriptor(loop):
    async def main():
        counts = set()
        for _ in range(100):
            async with read_pipe() as (_, writer):
                writer.write(b"x")
                counts.add(len(os.listdir("/proc/self/fd")))
        assert len(counts) == 1

    run(loop, main())
