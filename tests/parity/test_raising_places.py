"""An exception, KeyboardInterrupt or SystemExit out of every place where a loop calls its user.

Owns: watchers, signals, futures, tasks and factories; protocols' callbacks are in
test_protocol_misbehaviour.py and those like it, plain callbacks in test_loop_exceptions.py.
Thread: the main one, for signals.
Must not: raise a plain KeyboardInterrupt or SystemExit, which end the test run.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.support import certs
from tests.support.interruptions import INTERRUPTIONS, Misdeed, run_through
from tests.support.net import (
    capture_errors,
    dial,
    echo_once,
    only_on,
    run,
    serving,
    turns,
)
from tests.support.pipes import pipe_files
from tests.support.recorders import Echo, Recorder

Loop = asyncio.AbstractEventLoop
Error = type[BaseException]

every_error = pytest.mark.parametrize("error", [Misdeed, *INTERRUPTIONS])


class Raising:
    """A callback that raises the first time, and tells of the second."""

    def __init__(self, error: Error) -> None:
        self.error, self.times, self.again = error, 0, asyncio.Event()

    def __call__(self, *_args: object) -> None:
        self.times += 1
        if self.times > 1:
            self.again.set()
            return
        raise self.error


@contextlib.contextmanager
def reader(loop: Loop, callback: Raising) -> Iterator[None]:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.sendto(b"", sock.getsockname())
        loop.add_reader(sock, callback)
        yield
        assert loop.remove_reader(sock)


@contextlib.contextmanager
def writer(loop: Loop, callback: Raising) -> Iterator[None]:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        loop.add_writer(sock, callback)
        yield
        assert loop.remove_writer(sock)


@contextlib.contextmanager
def signals(loop: Loop, callback: Raising) -> Iterator[None]:
    def again() -> None:
        if not callback.times:
            os.kill(os.getpid(), signal.SIGUSR1)
        callback()

    loop.add_signal_handler(signal.SIGUSR1, again)
    os.kill(os.getpid(), signal.SIGUSR1)
    yield
    assert loop.remove_signal_handler(signal.SIGUSR1)


@contextlib.contextmanager
def future(loop: Loop, callback: Raising) -> Iterator[None]:
    done = loop.create_future()
    done.add_done_callback(callback)
    done.add_done_callback(callback)
    done.set_result(None)
    yield


@contextlib.contextmanager
def executor(loop: Loop, callback: Raising) -> Iterator[None]:
    for _ in range(2):
        loop.run_in_executor(None, os.getpid).add_done_callback(callback)
    yield


@contextlib.contextmanager
def thread_safe(loop: Loop, callback: Raising) -> Iterator[None]:
    for _ in range(2):
        loop.call_soon_threadsafe(callback)
    yield


@contextlib.contextmanager
def timers(loop: Loop, callback: Raising) -> Iterator[None]:
    for delay_s in (0, 0.001):
        loop.call_later(delay_s, callback)
    yield


@every_error
@pytest.mark.parametrize(
    "place",
    [reader, writer, signals, future, executor, thread_safe, timers],
    ids=lambda place: place.__name__,
)
def test_callbacks(
    loop: Loop,
    place: Callable[[Loop, Raising], contextlib.AbstractContextManager[None]],
    error: Error,
) -> None:
    """It is told once, or leaves the loop; the next call comes, and others are served."""
    errors = capture_errors(loop)

    async def main() -> None:
        async with serving(Echo) as served:
            witness = await dial(served.address)
            callback = Raising(error)
            with place(loop, callback):
                await callback.again.wait()
                await echo_once(witness)
            witness.transport.close()
            await witness.lost
        await loop.shutdown_default_executor()

    interrupted = run_through(loop, main())[1]
    told = [type(context["exception"]) for context in errors]
    assert (interrupted, told) == ((0, [Misdeed]) if error is Misdeed else (1, []))


@every_error
def test_a_task(loop: Loop, error: Error) -> None:
    """Who awaits it gets the exception as well."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    async def main() -> None:
        with pytest.raises(error):
            await asyncio.create_task(fail())

    assert run_through(loop, main())[1] == (error is not Misdeed)


@every_error
def test_a_task_factory(loop: Any, error: Error) -> None:
    def factory(_loop: Loop, coro: Any, **_options: Any) -> Any:
        coro.close()
        raise error

    async def main() -> None:
        loop.set_task_factory(factory)
        with pytest.raises(error):
            loop.create_task(asyncio.sleep(0))
        loop.set_task_factory(None)
        await loop.create_task(asyncio.sleep(0))

    run(loop, main())


@every_error
def test_work_of_an_executor(loop: Loop, error: Error) -> None:
    def fail() -> None:
        raise error

    async def main() -> None:
        with pytest.raises(error):
            await loop.run_in_executor(None, fail)
        assert await loop.run_in_executor(None, os.getpid) == os.getpid()
        await loop.shutdown_default_executor()

    run(loop, main())


Opening = Callable[[Any, Callable[[], Any], contextlib.ExitStack], Awaitable[object]]


async def tcp(loop: Any, factory: Callable[[], Any], stack: contextlib.ExitStack) -> None:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    await loop.create_connection(factory, *listener.getsockname())


async def unix(loop: Any, factory: Callable[[], Any], stack: contextlib.ExitStack) -> None:
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind("\0loopx-test-%d" % os.getpid())
    listener.listen()
    await loop.create_unix_connection(factory, listener.getsockname().decode())


async def accepted(loop: Any, factory: Callable[[], Any], stack: contextlib.ExitStack) -> None:
    ours, theirs = (stack.enter_context(each) for each in socket.socketpair())
    await loop.connect_accepted_socket(factory, ours)


async def datagrams(loop: Any, factory: Callable[[], Any], stack: contextlib.ExitStack) -> None:
    await loop.create_datagram_endpoint(factory, local_addr=("127.0.0.1", 0))


async def read_pipe(loop: Any, factory: Callable[[], Any], stack: contextlib.ExitStack) -> None:
    await loop.connect_read_pipe(factory, stack.enter_context(pipe_files())[0])


async def write_pipe(loop: Any, factory: Callable[[], Any], stack: contextlib.ExitStack) -> None:
    await loop.connect_write_pipe(factory, stack.enter_context(pipe_files())[1])


async def process(loop: Any, factory: Callable[[], Any], stack: contextlib.ExitStack) -> None:
    await loop.subprocess_exec(factory, "true")


@only_on("loopx")
@every_error
@pytest.mark.parametrize(
    "opening",
    [tcp, unix, accepted, datagrams, read_pipe, write_pipe, process],
    ids=lambda opening: opening.__name__,
)
def test_a_protocol_factory(loop: Loop, opening: Opening, error: Error) -> None:
    """The caller gets the exception; what the loop opened itself is closed.

    asyncio leaves sockets that it has opened to the garbage collector, with a warning.
    """

    async def main() -> None:
        def fail() -> None:
            raise error

        with contextlib.ExitStack() as stack:
            with pytest.raises(error):
                await opening(loop, fail, stack)
        await turns()

    run(loop, main())


@only_on("loopx")
@pytest.mark.parametrize(
    "opening",
    [tcp, unix, accepted, datagrams, read_pipe, write_pipe],
    ids=lambda opening: opening.__name__,
)
def test_a_factory_of_no_protocol(loop: Loop, opening: Opening) -> None:
    """As asyncio, which here too leaves what it has opened to the garbage collector."""

    async def main() -> None:
        with contextlib.ExitStack() as stack:
            with pytest.raises(AttributeError, match="connection_made"):
                await opening(loop, lambda: None, stack)
        await turns()

    run(loop, main())


@pytest.mark.parametrize(
    "opening", ["create_connection", "create_unix_connection", "connect_accepted_socket"]
)
@pytest.mark.parametrize("options", [{}, {"ssl": None}], ids=["plain", "tls"])
def test_a_protocol_factory_for_a_given_socket(
    loop: Loop, opening: str, options: dict[str, Any]
) -> None:
    """The socket is closed, also if TLS is what refuses, as asyncio does since 3.14.10."""
    if options:
        options = {"ssl": certs.server_context(), "ssl_handshake_timeout": -1.0}
        if opening != "connect_accepted_socket":
            options |= {"ssl": certs.client_context(), "server_hostname": certs.HOSTNAME}

    def fail() -> Recorder:
        if options:
            return Recorder()
        raise Misdeed

    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            arguments = {"sock": ours} | options
            with pytest.raises(ValueError if options else Misdeed):
                await getattr(loop, opening)(fail, **arguments)
            if not isinstance(loop, asyncio.SelectorEventLoop):
                assert ours.fileno() == -1
                assert theirs.recv(1) == b""

    run(loop, main())


@every_error
def test_a_look_up(loop: Loop, monkeypatch: pytest.MonkeyPatch, error: Error) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise error

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", fail)
            with pytest.raises(error):
                await loop.create_connection(Recorder, "name.test", 80)
        await loop.shutdown_default_executor()

    run(loop, main())
