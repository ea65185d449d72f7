"""The pipes of a process: flow control both ways, and ends that do not come together.

Output faster than it is read, input that nobody reads, a process that closes its streams and
lives on, a grandchild that keeps them.  Runs on asyncio and on loopx, on the main thread.
"""

import asyncio
import os
import signal
import subprocess

import psutil
import pytest

from tests.support.net import run, turns
from tests.support.payload import MIB
from tests.support.processes import PYTHON, ProcessRecorder, no_children, wait_until_exited

__all__ = ["no_children"]

PIPE = subprocess.PIPE
FLOOD_BYTES = 100 * MIB
# Reader, transport and pipe hold some 200 KiB; the rest is noise of the allocator.
FLAT_BYTES = 16 * MIB


async def start(command, **options):
    return await asyncio.create_subprocess_exec("sh", "-c", command, **options)


def resident_bytes():
    return psutil.Process().memory_info().rss


def test_output_faster_than_it_is_read(loop):
    async def main():
        process = await start(f"head -c {FLOOD_BYTES} /dev/zero", stdout=PIPE)
        await process.stdout.readexactly(MIB)
        before_bytes, most_bytes, total_bytes, looks = resident_bytes(), 0, MIB, 0
        while data := await process.stdout.read(MIB):
            total_bytes += len(data)
            looks += 1
            if looks % 50 == 0:
                most_bytes = max(most_bytes, resident_bytes())
        assert total_bytes == FLOOD_BYTES and looks > 50
        assert most_bytes - before_bytes < FLAT_BYTES
        return await process.wait()

    assert run(loop, main()) == 0


def test_output_that_nobody_reads_stops_the_writer(loop):
    async def main():
        process = await start("exec cat /dev/zero", stdout=PIPE, limit=1024)
        reader = process.stdout
        while not reader._paused:
            await asyncio.sleep(0)
        held_bytes = len(reader._buffer)
        await turns(200)
        assert len(reader._buffer) == held_bytes > 0
        process.kill()
        while await reader.read(MIB):
            pass
        return await process.wait()

    assert run(loop, main()) == -signal.SIGKILL


def test_input_that_nobody_reads_pauses_the_writer(loop):
    async def main():
        process = await start("exec wc -c", stdin=PIPE, stdout=PIPE)
        process.send_signal(signal.SIGSTOP)
        process.stdin.write(bytes(4 * MIB))
        drained = asyncio.create_task(process.stdin.drain())
        await turns(50)
        assert not drained.done()
        process.send_signal(signal.SIGCONT)
        await drained
        process.stdin.close()
        await process.stdin.wait_closed()
        output = await process.stdout.read()
        return int(output), await process.wait()

    assert run(loop, main()) == (4 * MIB, 0)


def test_ten_megabytes_there_and_back(loop):
    data = os.urandom(MIB) * 10

    async def main():
        process = await start("exec cat", stdin=PIPE, stdout=PIPE)
        output, _ = await process.communicate(data)
        return output == data, process.returncode

    assert run(loop, main()) == (True, 0)


def test_input_for_a_process_that_ends_early(loop):
    """communicate() says nothing of the broken pipe."""

    async def main():
        process = await start("read line; echo enough; exit 4", stdin=PIPE, stdout=PIPE)
        output, _ = await process.communicate(b"line\n" * (2 * MIB))
        return output, process.returncode

    assert run(loop, main()) == (b"enough\n", 4)


@pytest.mark.logs_errors
def test_drain_tells_of_the_broken_pipe(loop):
    async def main():
        process = await start("exec sleep 60", stdin=PIPE)
        process.stdin.write(bytes(4 * MIB))
        process.kill()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await process.stdin.drain()
        return await process.wait()

    assert run(loop, main()) == -signal.SIGKILL


def test_the_limit_of_a_stream(loop):
    async def main():
        process = await start("echo 0123456789; echo end", stdout=PIPE, limit=5)
        with pytest.raises(ValueError, match="limit"):
            await process.stdout.readline()
        output, _ = await process.communicate()
        return output, process.returncode

    assert run(loop, main()) == (b"end\n", 0)


# ---- ends that do not come together ------------------------------------------------------


def test_a_process_that_closes_its_streams_and_lives_on(loop):
    async def main():
        transport, protocol = await loop.subprocess_exec(
            ProcessRecorder, "sh", "-c", "exec <&- >&- 2>&-; exec sleep 60"
        )
        while sum(call[0] == "lost" for call in protocol.calls) < 3:
            await asyncio.sleep(0)
        await turns()
        assert transport.get_returncode() is None and not protocol.lost.done()
        transport.kill()
        await protocol.lost
        assert protocol.calls[-2:] == ["process_exited", "connection_lost"]
        transport.close()
        return transport.get_returncode()

    assert run(loop, main()) == -signal.SIGKILL


def test_a_grandchild_that_keeps_the_pipe(loop):
    """The process has ended all the same; its transport waits for the pipe, or for close()."""

    async def main():
        transport, protocol = await loop.subprocess_exec(
            ProcessRecorder, "sh", "-c", "sleep 60 & echo $!; exit 3", stdin=None, stderr=None
        )
        assert await protocol.exited == 3
        await turns()
        assert transport.get_returncode() == 3 and not protocol.lost.done()
        transport.terminate()
        while not protocol.data[1].endswith(b"\n"):
            await asyncio.sleep(0)
        os.kill(int(protocol.data[1]), 0)  # it runs
        transport.close()
        await protocol.lost
        os.kill(int(protocol.data[1]), signal.SIGKILL)
        assert protocol.calls[-2:] == [("lost", 1, None), "connection_lost"]

    run(loop, main())


def test_output_is_read_after_the_end(loop):
    """What the pipe holds when the process ends is not lost with it."""

    async def main():
        process = await start("head -c 60000 /dev/zero; exit 2", stdout=PIPE)
        wait_until_exited(process.pid)
        return len(await process.stdout.read()), await process.wait()

    assert run(loop, main()) == (60_000, 2)


def test_close_while_data_come(loop):
    async def main():
        transport, protocol = await loop.subprocess_exec(ProcessRecorder, "cat", "/dev/zero")
        while not protocol.data[1]:
            await asyncio.sleep(0)
        transport.close()
        await protocol.lost
        assert protocol.calls[0] == "connection_made"
        return transport.get_returncode()

    assert run(loop, main()) in (-signal.SIGKILL, -signal.SIGPIPE)


def test_both_outputs_in_full(loop):
    """Neither stream may starve the other."""
    code = (
        "import os\n"
        "for _ in range(200):\n"
        "    os.write(1, b'o' * 5000)\n"
        "    os.write(2, b'e' * 5000)\n"
    )

    async def main():
        process = await asyncio.create_subprocess_exec(*PYTHON, code, stdout=PIPE, stderr=PIPE)
        return await process.communicate()

    assert run(loop, main()) == (b"o" * 1_000_000, b"e" * 1_000_000)
