"""Processes that cannot be started: the error, and that nothing is left of the attempt.

Descriptors, zombies and warnings are looked for by the fixtures around each test.  Runs on
asyncio and on loopx, on the main thread.
"""

import asyncio
import errno
import os
import subprocess
import threading

import pytest

from tests.support.descriptors import descriptors_left
from tests.support.net import only_on, run
from tests.support.processes import (
    BLOCKED,
    ProcessRecorder,
    children,
    no_children,
    wait_until_reaped,
)

__all__ = ["no_children"]

PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

INHERITED = dict.fromkeys(PIPES)


async def refused(error, *args, **options):
    """Two attempts fail with `error`, and a third program runs after them."""
    for _ in range(2):
        with pytest.raises(error) as caught:
            await asyncio.create_subprocess_exec(*args, **options)
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
    try:
        return caught.value
    finally:
        del caught


def test_a_program_that_does_not_exist(loop):
    error = run(loop, refused(FileNotFoundError, "/nowhere/program", **PIPES))
    assert error.filename == "/nowhere/program"


def test_a_file_that_is_no_program(loop, tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    assert run(loop, refused(PermissionError, file, **PIPES)).errno == errno.EACCES


def test_a_program_of_another_format(loop, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"\x00\x01\x02")
    file.chmod(0o755)
    assert run(loop, refused(OSError, file, **PIPES)).errno == errno.ENOEXEC


def test_a_folder_that_does_not_exist(loop):
    run(loop, refused(FileNotFoundError, "true", cwd="/nowhere", **PIPES))


def test_a_null_byte_in_an_argument(loop):
    run(loop, refused(ValueError, "true", "a\0b", **PIPES))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_preexec_fn_that_raises(loop):
    def fail():
        raise ZeroDivisionError

    run(loop, refused(subprocess.SubprocessError, "true", preexec_fn=fail, **PIPES))


@pytest.mark.parametrize("count", range(7))
def test_no_room_for_the_pipes(loop, count):
    """Three pairs and one to hear of the child's errors by are eight descriptors."""

    async def main():
        process = await asyncio.create_subprocess_exec("true")  # the loop has all it needs
        await process.wait()
        with descriptors_left(count), pytest.raises(OSError) as caught:
            await asyncio.create_subprocess_exec(*BLOCKED, **PIPES)
        return caught.value.errno

    assert run(loop, main()) == errno.EMFILE


# ---- no pidfd ----------------------------------------------------------------------------


@pytest.fixture
def no_pidfd(monkeypatch):
    """No pidfd to be had, as when all descriptors are taken."""

    def pidfd_open(pid):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)


@only_on("loopx")
def test_without_a_pidfd_a_thread_waits(loop, no_pidfd):
    """asyncio leaves the child running and unwatched."""

    async def main():
        blocked, protocol = await loop.subprocess_exec(ProcessRecorder, *BLOCKED)
        failing = await asyncio.create_subprocess_exec("false")
        assert await failing.wait() == 1
        blocked.send_signal(0)
        blocked.terminate()
        await protocol.lost  # with its pipes, which may end after the process
        assert blocked.get_returncode() == -15
        blocked.close()

    run(loop, main())


@only_on("loopx")
def test_a_loop_closed_while_a_thread_waits(loop, no_pidfd):
    async def main():
        return await loop.subprocess_exec(ProcessRecorder, "sleep", "60", **INHERITED)

    transport, _ = run(loop, main())
    loop.close()
    assert transport.get_returncode() is None
    transport.close()
    wait_until_reaped(transport.get_pid())


@only_on("loopx")
def test_no_pidfd_and_no_thread(loop, no_pidfd, monkeypatch):
    """The child is killed and reaped, for nobody would hear of its end."""

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    before = children()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        run(loop, asyncio.wait_for(loop.subprocess_exec(ProcessRecorder, *BLOCKED), 10))
    assert children() == before
