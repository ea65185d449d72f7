"""The end of a process: its status is never lost, and no signal goes to a process of others.

Processes that end before they are watched, whose status somebody else takes, that are signalled
while they end.  Runs on asyncio and on loopx, on the main thread.
"""

import asyncio
import contextlib
import os
import signal
import threading

import pytest

from tests.support.net import only_on, run, since_python
from tests.support.processes import (
    BLOCKED,
    Held,
    ProcessRecorder,
    no_children,
    wait_until_exited,
)
from tests.support.threads import Elsewhere, wait_until_blocked

__all__ = ["no_children"]

BURST = 500
ALREADY_READ = "will report returncode 255"


async def start(command, **options):
    return await asyncio.create_subprocess_exec("sh", "-c", command, **options)


async def blocked():
    return await asyncio.create_subprocess_exec(*BLOCKED, stdin=asyncio.subprocess.PIPE)


def popen_of(process):
    return process._transport.get_extra_info("subprocess")


def test_a_process_that_ends_before_it_is_watched(loop, monkeypatch):
    pidfd_open = os.pidfd_open

    def late(pid, flags=0):
        with contextlib.suppress(ChildProcessError):  # asyncio tries it on its own process
            wait_until_exited(pid)
        return pidfd_open(pid, flags)

    monkeypatch.setattr(os, "pidfd_open", late)

    async def main():
        process = await start("exit 9")
        return await process.wait()

    assert run(loop, main()) == 9


@since_python(3, 12)  # before, a thread of asyncio's may take the status first
def test_a_process_that_ends_while_the_loop_rests(loop):
    held = Held(5)
    process = run(loop, held.start())
    held.end(process)
    assert process.returncode is None
    assert run(loop, process.wait()) == 5 == process.returncode


def test_five_hundred_at_once(loop):
    async def one(number):
        process = await start(f"exit {number % 256}")
        return await process.wait()

    async def main():
        return await asyncio.gather(*[one(number) for number in range(BURST)])

    assert run(loop, main(), 50) == [number % 256 for number in range(BURST)]


def test_many_wait_for_one_process(loop):
    async def main():
        process = await blocked()
        waiters = [asyncio.create_task(process.wait()) for _ in range(5)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        process.kill()
        return await asyncio.gather(*waiters, return_exceptions=True)

    first, *rest = run(loop, main())
    assert isinstance(first, asyncio.CancelledError) and rest == [-9] * 4


@only_on("loopx")  # and the newest asyncio
@pytest.mark.parametrize("command", ["exec yes", "head -c 150000 /dev/zero; exec sleep 60"])
def test_waiting_for_a_process_whose_output_nobody_reads(loop, command):
    async def main():
        process = await start(command, stdout=asyncio.subprocess.PIPE)
        await process.stdout.read(10)
        await asyncio.sleep(0.1)                 # the reader has paused
        process.kill()
        assert await asyncio.wait_for(process.wait(), 5) == -9
        read_bytes = len(await process.stdout.read())
        assert read_bytes > 131_072              # what is there can still be read, to its end
        assert process.stdout.at_eof()

    run(loop, main())


@only_on("loopx")
def test_waiting_for_a_process_whose_output_another_holds(loop):
    async def main():
        process = await start("sleep 60 & echo $!; exit 3", stdout=asyncio.subprocess.PIPE)
        holder = int(await process.stdout.readline())
        try:
            assert await asyncio.wait_for(process.wait(), 5) == 3
            assert not process.stdout.at_eof()
        finally:
            os.kill(holder, signal.SIGKILL)
        assert await process.stdout.read() == b""

    run(loop, main())


def test_a_handler_of_sigchld(loop):
    """It is the user's: it runs, and takes nothing from the loop."""
    seen = []
    previous = signal.signal(signal.SIGCHLD, lambda number, frame: seen.append(number))
    try:
        process = run(loop, start("exit 6"))
        assert run(loop, process.wait()) == 6
        assert seen
    finally:
        signal.signal(signal.SIGCHLD, previous)


# ---- somebody else takes the status -----------------------------------------------------


@since_python(3, 12)  # before, a thread of asyncio's may take the status first
def test_a_status_that_somebody_else_has_taken(loop, caplog):
    async def main():
        held = Held(6)
        process = await held.start()
        held.let_go()
        assert os.waitpid(process.pid, 0) == (process.pid, 6 << 8)
        return await process.wait()

    assert run(loop, main()) == 255
    assert ALREADY_READ in caplog.text


def test_sigchld_ignored(loop, caplog):
    """The kernel then keeps no status."""
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:

        async def main():
            process = await blocked()
            process.kill()
            return await process.wait()

        assert run(loop, main()) == 255
    finally:
        signal.signal(signal.SIGCHLD, previous)
    assert ALREADY_READ in caplog.text


@only_on("loopx")
def test_a_status_taken_through_popen_is_not_lost(loop):
    """asyncio says 255."""

    async def main():
        first, second = Held(6), Held(7)
        polled, waited = await first.start(), await second.start()
        first.end(polled)
        assert popen_of(polled).poll() == 6
        second.let_go()
        assert popen_of(waited).wait() == 7
        return await polled.wait(), await waited.wait()

    assert run(loop, main()) == (6, 7)


@only_on("loopx")
def test_a_thread_in_popen_wait(loop):
    """It holds the lock of the Popen object all the time; the loop must not wait for that."""
    waiters = []

    def wait(popen):
        waiters.append(threading.get_native_id())
        return popen.wait()

    async def main():
        process = await blocked()
        with Elsewhere(wait, popen_of(process)) as other:
            while not waiters:
                await asyncio.sleep(0)
            wait_until_blocked(waiters[0])
            process._transport.close()
            return await process.wait(), other.join()

    assert run(loop, main()) == (-9, -9)


@only_on("loopx")
def test_a_status_taken_before_close(loop, caplog):
    """asyncio reports success then, for that is what Popen.poll makes of it."""

    async def main():
        held = Held(6)
        process = await held.start()
        held.let_go()
        os.waitpid(process.pid, 0)
        process._transport.close()
        return await process.wait()

    assert run(loop, main()) == 255
    assert ALREADY_READ in caplog.text


# ---- signals to a process that ends ------------------------------------------------------

SIGNALLING = [
    lambda process: process.kill(),
    lambda process: process.terminate(),
    lambda process: process.send_signal(signal.SIGUSR1),
]


@since_python(3, 13)
@pytest.mark.parametrize("send", SIGNALLING)
def test_a_signal_to_a_process_that_has_just_ended(loop, send):
    """Nothing happens, and its status is that of its end."""

    async def main():
        held = Held(8)
        process = await held.start()
        held.end(process)
        send(process)
        return await process.wait()

    assert run(loop, main()) == 8


@pytest.mark.parametrize("send", SIGNALLING)
def test_a_signal_after_the_end(loop, send):
    async def main():
        held = Held(8)
        process = await held.start()
        held.let_go()
        await process.wait()
        with pytest.raises(ProcessLookupError):
            send(process)
        assert process.returncode == 8

    run(loop, main())


@only_on("loopx")
@pytest.mark.parametrize("send", SIGNALLING)
def test_no_signal_to_a_number_that_is_free_again(loop, send, monkeypatch, caplog):
    """Somebody has reaped the child: its number may be another process's. asyncio signals it."""
    sent = []
    monkeypatch.setattr(os, "kill", lambda *args: sent.append(args))

    async def main():
        held = Held(8)
        process = await held.start()
        held.let_go()
        os.waitpid(process.pid, 0)
        send(process)
        return await process.wait()

    assert run(loop, main()) == 255 and sent == []


@since_python(3, 13)
def test_signals_race_with_the_end(loop):
    """Whatever wins, the call is quiet or a ProcessLookupError and the status is one of two."""

    async def main():
        for _ in range(50):
            process = await start("exit 3")
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            assert await process.wait() in (3, -signal.SIGTERM)

    run(loop, main())


def test_stop_and_continue(loop):
    """A process that stops has not ended."""

    async def main():
        transport, protocol = await loop.subprocess_exec(ProcessRecorder, *BLOCKED)
        transport.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, transport.get_pid(), os.WSTOPPED | os.WNOWAIT)
        transport.send_signal(signal.SIGCONT)
        transport.get_pipe_transport(0).write(b"still here")
        transport.get_pipe_transport(0).close()
        await protocol.lost
        assert bytes(protocol.data[1]) == b"still here"
        assert transport.get_returncode() == 0
        transport.close()

    run(loop, main())
