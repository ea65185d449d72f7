"""add_reader and add_writer on every kind of descriptor that epoll takes, and on what it refuses.

Owns: one readable and one unreadable state of each kind; what is watched twice or under a number
that means something else by now.  What a watch does otherwise is in test_readers.py.
Thread: the test's own.
Must not: leave a process, a timer or a mask of signals behind.
"""

import asyncio
import contextlib
import ctypes
import os
import pathlib
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.support.descriptors import descriptors_left
from tests.support.net import only_on, run, turns

libc = ctypes.CDLL(None, use_errno=True)

CLOCK_MONOTONIC = 1
IN_CREATE = 0x100


def checked(result: int) -> int:
    """What a function of the C library gave; OSError if it failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Watched(NamedTuple):
    """A descriptor, and how it becomes readable and unreadable."""

    fd: int
    provoke: Callable[[], object]
    consume: Callable[[], object]


@contextlib.contextmanager
def owned(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def event(_folder: pathlib.Path) -> Iterator[Watched]:
    with owned(os.eventfd(0)) as fd:
        yield Watched(fd, lambda: os.eventfd_write(fd, 1), lambda: os.eventfd_read(fd))


@contextlib.contextmanager
def timer(_folder: pathlib.Path) -> Iterator[Watched]:
    with owned(checked(libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK))) as fd:
        soon = struct.pack("4q", 0, 0, 0, 1_000_000)  # one millisecond, once
        yield Watched(
            fd,
            lambda: checked(libc.timerfd_settime(fd, 0, soon, None)),
            lambda: os.read(fd, 8),
        )


@contextlib.contextmanager
def process(_folder: pathlib.Path) -> Iterator[Watched]:
    """Readable once, and for good: when the process has ended."""
    reader, writer = os.pipe()
    pid = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", "read line"],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)],
    )
    os.close(reader)
    with owned(os.pidfd_open(pid)) as fd:
        yield Watched(fd, lambda: os.close(writer), lambda: os.waitpid(pid, 0))


@contextlib.contextmanager
def inotify(folder: pathlib.Path) -> Iterator[Watched]:
    with owned(checked(libc.inotify_init1(os.O_NONBLOCK))) as fd:
        checked(libc.inotify_add_watch(fd, os.fsencode(folder), IN_CREATE))
        names = iter(range(100))
        yield Watched(
            fd, lambda: (folder / str(next(names))).touch(), lambda: os.read(fd, 4096)
        )


@contextlib.contextmanager
def signals(_folder: pathlib.Path) -> Iterator[Watched]:
    number = signal.SIGRTMIN + 3
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    mask = struct.pack("Q", 1 << number - 1).ljust(128, b"\0")
    try:
        with owned(checked(libc.signalfd(-1, mask, os.O_NONBLOCK))) as fd:
            yield Watched(
                fd,
                lambda: signal.pthread_kill(threading.get_ident(), number),
                lambda: os.read(fd, 128),
            )
    finally:
        while signal.sigtimedwait([number], 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def poller(_folder: pathlib.Path) -> Iterator[Watched]:
    """An epoll that watches an eventfd: readable while one of its own is."""
    with owned(os.eventfd(0)) as inner, select.epoll() as epoll:
        epoll.register(inner, select.EPOLLIN)
        yield Watched(
            epoll.fileno(), lambda: os.eventfd_write(inner, 1), lambda: os.eventfd_read(inner)
        )


@contextlib.contextmanager
def terminal(_folder: pathlib.Path) -> Iterator[Watched]:
    master, slave = os.openpty()
    with owned(master), owned(slave):
        yield Watched(slave, lambda: os.write(master, b"line\n"), lambda: os.read(slave, 100))


@contextlib.contextmanager
def terminal_master(_folder: pathlib.Path) -> Iterator[Watched]:
    master, slave = os.openpty()
    with owned(master), owned(slave):
        yield Watched(master, lambda: os.write(slave, b"x"), lambda: os.read(master, 100))


@contextlib.contextmanager
def fifo(folder: pathlib.Path) -> Iterator[Watched]:
    os.mkfifo(folder / "fifo")
    with owned(os.open(folder / "fifo", os.O_RDWR | os.O_NONBLOCK)) as fd:
        yield Watched(fd, lambda: os.write(fd, b"x"), lambda: os.read(fd, 100))


@contextlib.contextmanager
def listener(_folder: pathlib.Path) -> Iterator[Watched]:
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield Watched(
            sock.fileno(),
            lambda: stack.enter_context(socket.create_connection(sock.getsockname())),
            lambda: sock.accept()[0].close(),
        )


@contextlib.contextmanager
def datagrams(_folder: pathlib.Path) -> Iterator[Watched]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield Watched(
            sock.fileno(), lambda: sock.sendto(b"", sock.getsockname()), lambda: sock.recv(10)
        )


KINDS = (
    event,
    timer,
    process,
    inotify,
    signals,
    poller,
    terminal,
    terminal_master,
    fifo,
    listener,
    datagrams,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_readable(
    loop: asyncio.AbstractEventLoop,
    tmp_path: pathlib.Path,
    kind: Callable[[pathlib.Path], contextlib.AbstractContextManager[Watched]],
) -> None:
    async def main() -> None:
        with kind(tmp_path) as (fd, provoke, consume):
            for _ in range(1 if kind is process else 3):
                readable = asyncio.Event()
                loop.add_reader(fd, lambda: (consume(), readable.set()))
                await turns()
                assert not readable.is_set()
                provoke()
                await readable.wait()
                if kind is not process:  # one that has ended stays readable
                    readable.clear()
                    await turns()
                    assert not readable.is_set()
                assert loop.remove_reader(fd)

    run(loop, main())


@pytest.mark.parametrize("kind", [event, terminal, fifo, datagrams], ids=lambda k: k.__name__)
def test_writable(
    loop: asyncio.AbstractEventLoop,
    tmp_path: pathlib.Path,
    kind: Callable[[pathlib.Path], contextlib.AbstractContextManager[Watched]],
) -> None:
    async def main() -> None:
        with kind(tmp_path) as (fd, _provoke, _consume):
            writable = asyncio.Event()
            loop.add_writer(fd, writable.set)
            await writable.wait()
            assert loop.remove_writer(fd)

    run(loop, main())


def test_what_epoll_refuses(loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path, "/dev/null", "/proc/self/stat"):
        with owned(os.open(path, os.O_RDONLY)) as fd:
            with pytest.raises(PermissionError):
                loop.add_reader(fd, print)
            with pytest.raises(PermissionError):
                loop.add_writer(fd, print)
            assert not loop.remove_reader(fd)
    with owned(os.open(tmp_path, os.O_PATH)) as fd:
        with pytest.raises(OSError, match="Bad file descriptor"):
            loop.add_reader(fd, print)


@pytest.mark.parametrize("path", ["/proc/self/mounts", "/proc/sys/kernel/hostname"])
def test_a_file_that_is_watched_for_changes(
    loop: asyncio.AbstractEventLoop, path: str
) -> None:
    """Regular by its mode, but the kernel tells when what it shows has changed."""

    async def main() -> None:
        with owned(os.open(path, os.O_RDONLY)) as fd:
            told = asyncio.Event()
            loop.add_reader(fd, told.set)
            await told.wait()
            assert loop.remove_reader(fd)

    run(loop, main())


@only_on("loopx")
def test_without_a_descriptor_to_ask_with(loop: asyncio.AbstractEventLoop) -> None:
    """What a loop watches may be its last descriptor."""

    async def main() -> None:
        with owned(os.eventfd(1)) as event:
            told = asyncio.Event()
            for left in (10, 0):  # the first time the loop takes its own
                with descriptors_left(left):
                    told.clear()
                    loop.add_reader(event, told.set)
                    await told.wait()
                    assert loop.remove_reader(event)

    run(loop, main())


def test_one_file_under_two_numbers(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with owned(os.eventfd(0)) as first, owned(os.dup(first)) as second:
            events = asyncio.Event(), asyncio.Event()
            for fd, told in zip((first, second), events, strict=True):
                loop.add_reader(fd, told.set)
            os.eventfd_write(first, 1)
            for told in events:
                await told.wait()
            assert loop.remove_reader(first)
            events[1].clear()
            await events[1].wait()
            assert loop.remove_reader(second)

    run(loop, main())


@only_on("loopx")
@pytest.mark.parametrize("turns_before", [0, 3])
def test_a_number_opened_again_while_it_is_watched(
    loop: asyncio.AbstractEventLoop, turns_before: int
) -> None:
    """The second add_reader is about the new file. asyncio's selector never looks at that one."""

    async def main() -> None:
        old: list[int] = []
        first = os.eventfd(0)
        loop.add_reader(first, old.append, 1)
        await turns(turns_before)
        os.close(first)
        with owned(os.eventfd(0)) as second:
            assert second == first, "the kernel gives the lowest number that is free"
            told = asyncio.Event()
            loop.add_reader(second, told.set)
            await turns()
            assert not told.is_set()
            os.eventfd_write(second, 1)
            await told.wait()
            assert loop.remove_reader(second)
            assert not loop.remove_reader(second)
        assert old == []

    run(loop, main())
