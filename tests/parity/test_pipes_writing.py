"""Write pipes: partial writes, flow control, the reader that goes away, closing.

Runs on asyncio and on loopx; the other end is a blocking file.
"""

import asyncio
import os
import socket

import pytest

from tests.support.net import run, turns
from tests.support.payload import digest, pattern
from tests.support.pipes import digest_to_eof, pipe_files, read_exactly, write_pipe
from tests.support.recorders import Recorder
from tests.support.scripts import run_script

BIG_BYTES = 100_000_000


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_large_message_is_written_whole(loop, kind):
    async def main():
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_000_000)
            if ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2_000_000:
                ours.close()
                pytest.skip("net.core.wmem_max is too small")
            transport, protocol = await loop.connect_write_pipe(Recorder, ours)
            transport.write(bytes(600_000))
            assert len(theirs.recv(1_000_000)) == 600_000
            transport.close()
            await protocol.lost

    run(loop, main())


def test_what_it_is(loop):
    async def main():
        with pipe_files() as (_, writer):
            transport, protocol = await loop.connect_write_pipe(Recorder, writer)
            assert protocol.calls == ["connection_made"]
            assert isinstance(transport, asyncio.Transport)  # with asyncio, more than it says
            assert transport.get_extra_info("pipe") is writer
            assert transport.get_protocol() is protocol
            assert transport.can_write_eof()
            assert transport.get_write_buffer_size() == 0
            assert transport.get_write_buffer_limits() == (16384, 65536)
            assert f"fd={writer.fileno()}" in repr(transport)
            assert not os.get_blocking(writer.fileno())
            transport.close()
            transport.close()
            assert transport.is_closing()
            await protocol.lost
            assert "closed" in repr(transport)
            assert writer.closed

    run(loop, main())


def test_a_write_is_there_at_once(loop):
    """No turn goes by: a callback may wait for the answer of another process."""

    async def main():
        async with write_pipe() as (protocol, reader):
            protocol.transport.write(b"now")
            assert reader.read(100) == b"now"
            assert protocol.transport.get_write_buffer_size() == 0

    run(loop, main())


def test_empty_writes_write_nothing(loop):
    async def main():
        async with write_pipe() as (protocol, reader):
            for data in (b"", bytearray(), memoryview(b"")):
                protocol.transport.write(data)
            protocol.transport.writelines([])
            protocol.transport.writelines([b"", b"x", b""])
            protocol.transport.close()
            assert reader.read(100) == b"x"
            await protocol.lost

    run(loop, main())


@pytest.mark.parametrize("data", ["text", 5, None, [b"x"]])
def test_what_is_no_buffer(loop, data):
    async def main():
        async with write_pipe() as (protocol, _):
            with pytest.raises((TypeError, AssertionError)):
                protocol.transport.write(data)

    run(loop, main())


def test_a_buffer_may_change_after_write(loop):
    data = bytearray(pattern(300_000))
    before = bytes(data)

    async def main():
        async with write_pipe() as (protocol, reader):
            protocol.transport.write(data)
            data[:] = bytes(len(data))
            protocol.transport.write(memoryview(data)[:10])
            data.clear()
            protocol.transport.close()
            got = await asyncio.to_thread(read_exactly, reader, len(before) + 10)
            assert got == before + bytes(10)

    run(loop, main())


def test_a_hundred_megabytes_in_one_write(loop):
    data = pattern(BIG_BYTES)

    async def main():
        async with write_pipe() as (protocol, reader):
            protocol.transport.write(data)
            assert protocol.transport.get_write_buffer_size() > BIG_BYTES - 1_100_000
            protocol.transport.write_eof()
            total = await asyncio.to_thread(digest_to_eof, reader)
            assert total == (BIG_BYTES, digest(data))
            assert await protocol.lost is None

    run(loop, main())


def test_many_writes_while_nobody_reads_stay_in_order(loop):
    pieces = [pattern(1000 + number) for number in range(500)]

    async def main():
        async with write_pipe() as (protocol, reader):
            for piece in pieces:
                protocol.transport.write(piece)
            protocol.transport.close()
            whole = b"".join(pieces)
            assert await asyncio.to_thread(digest_to_eof, reader) == (len(whole), digest(whole))

    run(loop, main())


def test_the_protocol_is_paused_and_resumed(loop):
    async def main():
        async with write_pipe() as (protocol, reader):
            protocol.transport.set_write_buffer_limits(high=1000, low=100)
            protocol.transport.write(bytes(2_000_000))
            assert protocol.calls == ["connection_made", "pause_writing"]
            await asyncio.to_thread(read_exactly, reader, 2_000_000)
            await protocol.writable.wait()
            assert protocol.transport.get_write_buffer_size() <= 100
            assert protocol.calls == ["connection_made", "pause_writing", "resume_writing"]

    run(loop, main())


def test_limits_that_contradict(loop):
    async def main():
        async with write_pipe() as (protocol, _):
            with pytest.raises(ValueError, match="high"):
                protocol.transport.set_write_buffer_limits(high=1, low=2)

    run(loop, main())


def test_a_reader_that_goes_is_noticed(loop):
    async def main():
        async with write_pipe() as (protocol, reader):
            reader.close()
            assert await protocol.lost is None

    run(loop, main())


def test_a_reader_that_goes_with_data_unread(loop):
    async def main():
        async with write_pipe() as (protocol, reader):
            protocol.transport.write(bytes(2_000_000))
            reader.close()
            assert isinstance(await protocol.lost, BrokenPipeError)
            assert protocol.transport.get_write_buffer_size() == 0

    run(loop, main())


def test_a_reader_that_goes_before_the_last_byte(loop):
    async def main():
        async with write_pipe() as (protocol, reader):
            protocol.transport.write(bytes(2_000_000))
            protocol.transport.close()
            await turns()
            assert not protocol.lost.done()
            reader.close()
            assert isinstance(await protocol.lost, BrokenPipeError)

    run(loop, main())


def test_writing_to_nobody(loop):
    """The write meets the error before the poll does."""

    async def main():
        async with write_pipe() as (protocol, reader):
            reader.close()
            protocol.transport.write(b"x")
            assert isinstance(await protocol.lost, BrokenPipeError)

    run(loop, main())


def test_late_writes_are_dropped_with_a_warning(loop, caplog):
    async def main():
        async with write_pipe() as (protocol, reader):
            reader.close()
            for _ in range(8):
                protocol.transport.write(b"x")
            await protocol.lost

    run(loop, main())
    assert "pipe closed by peer or os.write(pipe, data) raised exception." in caplog.messages


def test_writes_after_close_are_dropped(loop):
    data = bytes(1_000_000)

    async def main():
        async with write_pipe() as (protocol, reader):
            protocol.transport.write(data)
            protocol.transport.close()
            protocol.transport.write(b"late")
            protocol.transport.write_eof()
            assert (await asyncio.to_thread(digest_to_eof, reader))[0] == len(data)
            await protocol.lost

    run(loop, main())


def test_abort_drops_what_is_unsent(loop):
    async def main():
        async with write_pipe() as (protocol, reader):
            protocol.transport.write(bytes(2_000_000))
            unsent_bytes = protocol.transport.get_write_buffer_size()
            protocol.transport.abort()
            assert protocol.transport.is_closing()
            assert protocol.transport.get_write_buffer_size() == 0
            assert await protocol.lost is None
            assert digest_to_eof(reader)[0] == 2_000_000 - unsent_bytes

    run(loop, main())


def test_stream_writer_drains(loop):
    data = pattern(3_000_000)

    async def main():
        with pipe_files() as (reader, writer):
            transport, protocol = await loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, writer
            )
            stream = asyncio.StreamWriter(transport, protocol, None, loop)
            reading = asyncio.ensure_future(asyncio.to_thread(digest_to_eof, reader))
            for start in range(0, len(data), 100_000):
                stream.write(data[start : start + 100_000])
                await stream.drain()
            stream.close()
            assert await reading == (len(data), digest(data))

    run(loop, main())


@pytest.mark.parametrize("size", [4096, 40_000])
def test_a_write_that_waits_leaves_other_threads_alone(loop_kind: str, size: int) -> None:
    """Whoever has the same open pipe may take O_NONBLOCK away from it."""
    source = f"""
    import os, threading, time

    async def main():
        outer, inner = os.pipe()
        transport, _ = await asyncio.get_running_loop().connect_write_pipe(
            asyncio.Protocol, open(inner, "wb", 0))
        os.set_blocking(inner, True)
        received = bytearray()

        def read():
            time.sleep(0.2)                 # the write is waiting by then
            while len(received) < 65536 + {size}:
                received.extend(os.read(outer, 65536))

        reader = threading.Thread(target=read)
        reader.start()
        transport.write(bytes(65536))
        transport.write(bytes({size}))
        while reader.is_alive():
            await asyncio.sleep(0.01)
        transport.close()
        print(len(received))

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    """
    result = run_script(loop_kind, source, timeout_s=20)
    assert result.stdout.split() == [str(65536 + size)], result.stderr
