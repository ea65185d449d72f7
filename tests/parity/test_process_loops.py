"""Processes and their loops: in any thread, several at once, stopped, moved and closed.

Runs on asyncio and on loopx; what asyncio cannot do runs on loopx alone and says so.
"""

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import warnings

import pytest

from tests.support.children import output_of
from tests.support.net import only_on, run
from tests.support.processes import (
    BLOCKED,
    Held,
    ProcessRecorder,
    children,
    no_children,
    wait_until_exited,
    wait_until_reaped,
)
from tests.support.threads import Elsewhere, in_thread

__all__ = ["no_children"]

EACH = 50
NOTHING = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


async def converse(number):
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", f"cat; exit {number}", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate(b"%d" % number)
    assert int(output) == number
    return process.returncode


async def converse_all():
    return await asyncio.gather(*[converse(number) for number in range(EACH)])


def run_and_close(loop_factory, coro):
    loop = loop_factory()
    try:
        return run(loop, coro, 40)
    finally:
        loop.close()


def test_a_loop_that_is_not_in_the_main_thread(loop_factory):
    assert in_thread(run_and_close, loop_factory, converse(7)) == 7


def test_two_loops_in_two_threads(loop_factory):
    threads = [Elsewhere(run_and_close, loop_factory, converse_all()) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        assert thread.join() == list(range(EACH))


def test_a_loop_that_stops_and_goes_on_in_another_thread(loop):
    """The process ends in between, after the thread that started it."""
    held = Held(4)
    process = in_thread(run, loop, held.start(stdout=subprocess.PIPE))
    held.end(process)
    assert process.returncode is None
    assert in_thread(run, loop, process.communicate()) == (b"", None)
    assert process.returncode == 4


def test_a_process_for_each_of_three_threads(loop):
    """Started in one, signalled in another, waited for in a third."""
    process = in_thread(run, loop, asyncio.create_subprocess_exec(*BLOCKED, stdin=subprocess.PIPE))
    in_thread(process.terminate)
    assert run(loop, process.wait()) == -signal.SIGTERM


# ---- loops that close --------------------------------------------------------------------


async def start(loop, *args, **options):
    transport, _ = await loop.subprocess_exec(ProcessRecorder, *args, **{**NOTHING, **options})
    return transport


@only_on("loopx")
def test_a_loop_closed_while_a_process_runs(loop):
    """It runs on while somebody has its transport; then it is killed, and reaped.

    asyncio warns and kills too, and leaves a zombie.
    """
    transport = run(loop, start(loop, "sleep", "60"))
    pid = transport.get_pid()
    loop.close()
    assert any(number == pid for number, _ in children())
    assert transport.get_returncode() is None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport
        gc.collect()
    messages = [str(warning.message) for warning in caught]
    assert f"unclosed transport <ProcessTransport pid={pid} running>" in messages
    wait_until_reaped(pid)


@only_on("loopx")
def test_a_transport_closed_after_its_loop(loop):
    """asyncio fails on the pipes before 3.13, and leaves a zombie."""
    transport = run(loop, start(loop, "sleep", "60"))
    loop.close()
    transport.close()
    wait_until_reaped(transport.get_pid())


@only_on("loopx")
def test_a_loop_closed_before_it_heard_of_the_end(loop):
    """asyncio never learns the status and leaves a zombie and the pidfd."""
    held = Held(7)
    transport = run(loop, start_held(loop, held))
    held.let_go()
    wait_until_exited(transport.get_pid())
    loop.close()
    assert transport.get_returncode() == 7
    transport.close()


@only_on("loopx")
def test_a_transport_closed_after_its_loop_and_its_process(loop):
    """asyncio's asks the closed loop for the status and raises."""
    held = Held(3)
    transport = run(loop, start_held(loop, held))
    pid = transport.get_pid()
    loop.close()
    held.let_go()
    wait_until_exited(pid)
    transport.close()
    wait_until_reaped(pid)
    assert not open_pidfds()


@only_on("loopx")
@pytest.mark.logs_errors  # tasks destroyed while pending
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_a_start_that_is_never_finished(loop_factory, loop_kind):
    """The loop is closed, and the coroutine collected, in every turn that a start can take.

    asyncio waits for the process there, which no coroutine can that is being collected.
    """

    async def begin(turns):
        begun = asyncio.get_running_loop().subprocess_exec(asyncio.SubprocessProtocol, *BLOCKED)
        task = asyncio.ensure_future(begun)
        task._log_destroy_pending = False
        for _ in range(turns):
            await asyncio.sleep(0)

    complaints = []
    previous = sys.unraisablehook
    sys.unraisablehook = lambda found: complaints.append(str(found.exc_value))
    try:
        for turns in range(6):
            loop = loop_factory()
            run(loop, begin(turns))
            loop.close()
            gc.collect()
    finally:
        sys.unraisablehook = previous
    assert "coroutine ignored GeneratorExit" not in complaints
    assert not open_pidfds()


def open_pidfds():
    links = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the folder's own
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return [link for link in links if "pidfd" in link]


async def start_held(loop, held):
    process = await held.start(stdout=subprocess.DEVNULL)
    return process._transport


@only_on("loopx")
def test_a_loop_closed_right_after_a_kill(loop):
    """asyncio leaves a zombie and the pidfd."""
    transport = run(loop, start(loop, "sleep", "60"))
    transport.close()
    loop.close()
    wait_until_reaped(transport.get_pid())


@only_on("loopx")
def test_a_forked_child_leaves_its_parents_processes_alone(loop):
    """asyncio's child takes the parent's descriptors out of the epoll that they share."""
    transport = run(loop, start(loop, "sleep", "60"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fork in a process with threads
        pid = os.fork()
        if pid == 0:
            transport.close()
            del transport
            gc.collect()
            os._exit(0)
    assert os.waitpid(pid, 0) == (pid, 0)
    assert transport.get_extra_info("subprocess").poll() is None
    transport.close()
    run(loop, transport._wait())


def test_no_child_watcher_is_involved():
    """Neither made, which would warn from 3.12 on, nor asked if the user has set one."""
    lines = output_of(
        """
        import asyncio, sys, warnings
        import loopx

        warnings.simplefilter("error")

        async def main():
            process = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
            print(await process.wait())

        if sys.version_info < (3, 14):
            from asyncio import unix_events
            for name in ("PidfdChildWatcher", "ThreadedChildWatcher"):
                delattr(unix_events, name)
        loopx.run(main())
        """
    )
    assert lines == ["3"]
