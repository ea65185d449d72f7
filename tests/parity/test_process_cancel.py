"""Cancelling: starting a process, waiting for it, talking to it.

A start that is cancelled kills and reaps the child; a wait that is cancelled leaves it alone.
Runs on asyncio and on loopx, on the main thread.
"""

import asyncio
import signal
import subprocess

import pytest

from tests.support.net import only_on, run, turns
from tests.support.processes import BLOCKED, children, no_children

__all__ = ["no_children"]

PIPES = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)


async def finish(process):
    process.kill()
    await process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("options", [{"stdin": subprocess.DEVNULL}, PIPES])
@pytest.mark.parametrize("later_turns", range(12))
def test_a_start_cancelled_in_any_turn(loop, later_turns, options):
    """Either there is a process or it was cancelled, and then nothing is left of the child."""

    async def main():
        program = ("sleep", "60")
        task = asyncio.create_task(asyncio.create_subprocess_exec(*program, **options))
        await turns(later_turns)
        task.cancel()
        try:
            process = await task
        except asyncio.CancelledError:
            assert children() == before
            await turns()  # for the pipes' own ends
        else:
            await finish(process)

    before = children()
    run(loop, main())


@only_on("loopx")
@pytest.mark.parametrize("later_turns", range(1, 12))
def test_a_start_cancelled_with_all_that_belongs_to_it(loop, later_turns):
    """As asyncio.run does after Ctrl-C, where asyncio's own loop waits for ever before 3.14."""

    async def main():
        others = asyncio.all_tasks()
        task = asyncio.create_task(asyncio.create_subprocess_exec("sleep", "60", **PIPES))
        await turns(later_turns)
        for other in asyncio.all_tasks() - others:
            other.cancel()
        try:
            process = await task
        except asyncio.CancelledError:
            assert children() == before
            await turns()
        else:
            await finish(process)

    before = children()
    run(loop, main())


@only_on("loopx")
@pytest.mark.parametrize("name", ["connect_write_pipe", "connect_read_pipe"])
def test_pipes_that_cannot_be_connected(loop, name, monkeypatch):
    """The error is told, and neither child nor pipe is left. asyncio waits for ever before 3.14."""

    async def connect(factory, pipe):
        await asyncio.sleep(0)
        raise MemoryError

    async def main():
        monkeypatch.setattr(loop, name, connect)
        with pytest.raises(MemoryError):
            await asyncio.create_subprocess_exec("sleep", "60", **PIPES)
        assert children() == before
        await turns()

    before = children()
    run(loop, main())


def test_a_start_cancelled_twice(loop):
    """The second one does not wait for the child; it is reaped all the same (see the fixture)."""

    async def main():
        task = asyncio.create_task(asyncio.create_subprocess_exec("sleep", "60"))
        await turns(1)
        task.cancel()
        await turns(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while children() - before:
            await asyncio.sleep(0)

    before = children()
    run(loop, main())


def test_a_wait_cancelled(loop):
    async def main():
        process = await asyncio.create_subprocess_exec(*BLOCKED, **PIPES)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 0.01)
        assert process.returncode is None
        process.stdin.close()
        return await process.wait()

    assert run(loop, main()) == 0


def test_a_conversation_cancelled(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "60", **PIPES)
        task = asyncio.create_task(process.communicate(b"hello"))
        await turns(20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await finish(process)

    run(loop, main())
