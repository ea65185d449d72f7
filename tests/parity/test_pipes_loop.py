"""Pipes and the life of their loop: stopped and run again, on other threads, closed.

Runs on asyncio and on loopx.
"""

import asyncio
import gc
from pathlib import Path

import pytest

from tests.support.loops import run_turns
from tests.support.moving import TIMEOUT_S
from tests.support.net import only_on, run
from tests.support.payload import digest, pattern
from tests.support.pipes import digest_to_eof, over, pipe_files
from tests.support.recorders import Recorder
from tests.support.threads import Elsewhere, in_thread


async def connect(loop, reader, writer):
    _, reading = await loop.connect_read_pipe(Recorder, reader)
    _, writing = await loop.connect_write_pipe(Recorder, writer)
    return reading, writing


def test_what_comes_while_the_loop_does_not_run(loop):
    with pipe_files() as (reader, writer):
        _, protocol = run(loop, loop.connect_read_pipe(Recorder, reader))
        for round_number in range(5):
            data = b"round %d" % round_number
            writer.write(data)
            run_turns(loop, round_number)
            assert run(loop, protocol.read(len(data))) == data
        writer.close()
        assert run(loop, asyncio.wait_for(protocol.lost, TIMEOUT_S)) is None
        assert "eof_received" in protocol.calls


def test_written_while_the_loop_does_not_run(loop):
    data = pattern(1_000_000)
    with pipe_files() as (reader, writer):
        _, protocol = run(loop, loop.connect_write_pipe(Recorder, writer))
        protocol.transport.write(data)
        protocol.transport.close()
        with Elsewhere(digest_to_eof, reader) as reading:
            run(loop, over(protocol))
            assert reading.join() == (len(data), digest(data))


def test_on_one_thread_after_the_other(loop):
    data = pattern(200_000)
    with pipe_files() as (reader, writer):
        reading, writing = in_thread(run, loop, connect(loop, reader, writer), TIMEOUT_S)
        for _ in range(3):
            writing.transport.write(data)
            assert in_thread(run, loop, reading.read(len(data)), TIMEOUT_S) == data
        writing.transport.close()
        in_thread(run, loop, over(reading), TIMEOUT_S)
        in_thread(run, loop, over(writing), TIMEOUT_S)


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_a_loop_closed_with_pipes_open(loop):
    """Whoever forgot them is warned, and the descriptors are closed."""
    with pipe_files() as (reader, writer):
        reading, writing = run(loop, connect(loop, reader, writer))
        writing.transport.write(bytes(500_000))
        reading.transport.pause_reading()
        loop.close()
        with pytest.raises(RuntimeError, match="closed"):
            reading.transport.close()
        del reading, writing
        gc.collect()
        assert reader.closed
        assert writer.closed


@only_on("loopx")
def test_connecting_on_a_closed_loop(loop):
    """asyncio makes half of a transport first, which complains of itself besides."""
    with pipe_files() as (reader, writer):
        connecting = [
            loop.connect_read_pipe(Recorder, reader),
            loop.connect_write_pipe(Recorder, writer),
        ]
        loop.close()
        for coroutine in connecting:
            with pytest.raises(RuntimeError, match="closed"):
                coroutine.send(None)
        assert not reader.closed
        assert not writer.closed


def kernel_workers():
    """Threads that io_uring made in this process, for what would have blocked."""
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if name.startswith("iou-wrk")]


@only_on("loopx")
def test_no_worker_thread_of_the_kernel_is_needed(loop):
    """io_uring is loopx's alone."""
    before = kernel_workers()
    with pipe_files() as (reader, writer):
        reading, writing = run(loop, connect(loop, reader, writer))
        writing.transport.write(bytes(2_000_000))
        run(loop, reading.received(2_000_000))
        run_turns(loop, 3)
        assert kernel_workers() == before
        writing.transport.close()
        run(loop, over(writing))
        run(loop, over(reading))


@only_on("loopx")
def test_nothing_is_left_in_flight(loop):
    """Counted by loopx alone."""
    with pipe_files() as (reader, writer):
        reading, writing = run(loop, connect(loop, reader, writer))
        writing.transport.write(bytes(500_000))
        run_turns(loop, 3)
        run(loop, over(writing))
        run(loop, over(reading))
        run_turns(loop, 2)
        assert loop.stats()["operations_in_flight"] == 0
