"""Child processes in tests: what they run, what is told of them, and that none is left behind.

Owns: the fixture `no_children` and a recording SubprocessProtocol.
Thread: that of the tests; protocols run on their loop's.
Must not: reap anything; a child that is still there after a test is the loop's mistake.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.support.patience import PATIENCE

GRACE_S = 5.0 * PATIENCE
# Runs until it is killed, or its standard input ends.
BLOCKED = ("cat",)
PYTHON = (sys.executable, "-I", "-S", "-c")


def children() -> set[tuple[int, str]]:
    """Number and state of each child of this process, zombies among them."""
    found = set()
    for child in psutil.Process().children():
        try:
            found.add((child.pid, child.status()))
        except psutil.NoSuchProcess:
            continue
    return found


def wait_until_reaped(pid: int) -> None:
    """Return when there is no such child any more, not even a zombie; TimeoutError else."""
    deadline_s = time.monotonic() + GRACE_S
    while any(number == pid for number, _ in children()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"process {pid} was not reaped: {children()}")
        os.sched_yield()


def wait_until_exited(pid: int) -> None:
    """Return when the child has ended; its status stays with the kernel.

    Unless asyncio before 3.12 has taken it, whose child watcher is a thread that may come first.
    """
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


class Held:
    """A program that ends with `status` when it is let go, and not before."""

    def __init__(self, status: int) -> None:
        self.status = status
        self._reader, self._writer = os.pipe()

    async def start(self, **options: Any) -> asyncio.subprocess.Process:
        command = f"read line; exit {self.status}"
        try:
            return await asyncio.create_subprocess_exec(
                "sh", "-c", command, stdin=self._reader, **options
            )
        finally:
            os.close(self._reader)

    def let_go(self) -> None:
        os.close(self._writer)

    def end(self, process: asyncio.subprocess.Process) -> None:
        """Return when the program has ended and the loop has not been told."""
        self.let_go()
        wait_until_exited(process.pid)


@pytest.fixture(autouse=True)
def no_children() -> Iterator[None]:
    """Fail a test that leaves a child behind, running or as a zombie."""
    before = {pid for pid, _ in children()}
    yield
    gc.collect()  # what nobody closed is killed when it is collected
    left = [child for child in children() if child[0] not in before]
    for pid, _ in left:
        wait_until_reaped(pid)


class ProcessRecorder(asyncio.SubprocessProtocol):
    """Writes down every call: (name, *arguments), data of one pipe that follows itself as one."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.data: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self.transport: Any = None
        self.exited = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("connection_made")
        self.transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if ("data", fd) not in self.calls:
            self.calls.append(("data", fd))
        self.data[fd] += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.calls.append(("lost", fd, exc))

    def process_exited(self) -> None:
        self.calls.append("process_exited")
        if not self.exited.done():
            self.exited.set_result(self.transport.get_returncode())

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("connection_lost")
        self.lost.set_result(exc)
