"""The smallest real use of each method of asyncio.AbstractEventLoop, for the page and its test.

Owns: one function or more for each method, registered by the method's name; a coroutine function
runs on the loop, a plain function is given it while it stands still.
Thread: the loop's own.
Must not: sleep to synchronise, choose a port, or leave anything open.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from tests.support.datagrams import ANY_PORT, DatagramRecorder
from tests.support.net import connected, dial, echo_once, finish, listen, serving
from tests.support.processes import ProcessRecorder
from tests.support.recorders import Echo, Recorder

Loop = asyncio.AbstractEventLoop
USES: dict[str, Callable[[Loop], Any]] = {}


def use_of(*methods: str) -> Callable[[Callable[[Loop], Any]], Callable[[Loop], Any]]:
    """Register a use of these methods."""

    def register(use: Callable[[Loop], Any]) -> Callable[[Loop], Any]:
        USES.update(dict.fromkeys(methods, use))
        return use

    return register


# ------------------------------------------------------------------ running


@use_of("run_forever", "stop", "call_soon", "is_running")
def running(loop: Loop) -> None:
    seen: list[bool] = []
    loop.call_soon(lambda: seen.append(loop.is_running()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert (seen, loop.is_running()) == ([True], False)


@use_of("run_until_complete", "create_future")
def until_complete(loop: Loop) -> None:
    future = loop.create_future()
    loop.call_soon(future.set_result, 42)
    assert loop.run_until_complete(future) == 42


@use_of("close", "is_closed")
def closing(loop: Loop) -> None:
    assert not loop.is_closed()
    loop.close()
    assert loop.is_closed()


@use_of("call_later", "call_at", "time")
async def timers(loop: Loop) -> None:
    fired: asyncio.Queue[str] = asyncio.Queue()
    now = loop.time()
    loop.call_at(now + 0.002, fired.put_nowait, "second")
    loop.call_at(now + 0.001, fired.put_nowait, "first")
    loop.call_later(0.003, fired.put_nowait, "third")
    assert [await fired.get() for _ in range(3)] == ["first", "second", "third"]


@use_of("call_soon_threadsafe")
async def from_a_thread(loop: Loop) -> None:
    done = asyncio.Event()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(done.set,))
    thread.start()
    await done.wait()
    thread.join()


@use_of("create_task", "set_task_factory", "get_task_factory")
async def tasks(loop: Loop) -> None:
    async def answer() -> int:
        return 42

    assert await loop.create_task(answer(), name="named") == 42
    made = []

    def factory(loop: Loop, coro: Any, **options: Any) -> Any:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **options)

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    assert await loop.create_task(answer()) == 42
    assert len(made) == 1


@use_of("call_exception_handler", "set_exception_handler", "get_exception_handler")
async def exception_handlers(loop: Loop) -> None:
    seen: list[Any] = []

    def handler(_loop: Loop, context: dict[str, Any]) -> None:
        seen.append(context["message"])

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.call_exception_handler({"message": "hello"})
    assert seen == ["hello"]


@use_of("default_exception_handler")
async def default_handler(loop: Loop) -> None:
    logger = __import__("logging").getLogger("asyncio")
    lines: list[str] = []

    def keep(record: Any) -> bool:
        lines.append(record.getMessage())
        return False

    logger.addFilter(keep)
    try:
        loop.default_exception_handler({"message": "hello"})
    finally:
        logger.removeFilter(keep)
    assert lines == ["hello"]


@use_of("set_debug", "get_debug")
def debug(loop: Loop) -> None:
    loop.set_debug(True)
    assert loop.get_debug()


@use_of("shutdown_asyncgens")
async def asynchronous_generators(loop: Loop) -> None:
    ended = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            ended.append(True)

    generator = numbers()
    assert await anext(generator) == 1
    await loop.shutdown_asyncgens()
    assert ended


@use_of("run_in_executor", "set_default_executor", "shutdown_default_executor")
async def executors(loop: Loop) -> None:
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1, "ours"))
    name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
    assert name.startswith("ours")
    await loop.shutdown_default_executor()


@use_of("add_signal_handler", "remove_signal_handler")
async def signals(loop: Loop) -> None:
    came = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, came.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await came.wait()
    assert loop.remove_signal_handler(signal.SIGUSR1)


@use_of("getaddrinfo", "getnameinfo")
async def names(loop: Loop) -> None:
    found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    assert found[0][4] == ("127.0.0.1", 80)
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert await loop.getnameinfo(("127.0.0.1", 80), flags) == ("127.0.0.1", "80")


# ------------------------------------------------------------------ descriptors and sockets


@contextlib.contextmanager
def pair(kind: socket.SocketKind = socket.SOCK_STREAM) -> Iterator[list[socket.socket]]:
    """Two connected Unix sockets that do not block."""
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(sock) for sock in socket.socketpair(socket.AF_UNIX, kind)]
        for sock in both:
            sock.setblocking(False)
        yield both


@use_of("add_reader", "remove_reader", "add_writer", "remove_writer")
async def watching(loop: Loop) -> None:
    with pair() as (ours, theirs):
        readable, writable = asyncio.Event(), asyncio.Event()
        loop.add_writer(ours, writable.set)
        await writable.wait()
        loop.remove_writer(ours)
        loop.add_reader(ours, readable.set)
        theirs.send(b"x")
        await readable.wait()
        loop.remove_reader(ours)


@use_of("sock_sendall", "sock_recv", "sock_recv_into")
async def socket_streams(loop: Loop) -> None:
    with pair() as (ours, theirs):
        await loop.sock_sendall(ours, b"hello")
        assert await loop.sock_recv(theirs, 2) == b"he"
        space = bytearray(10)
        assert await loop.sock_recv_into(theirs, space) == 3
        assert space[:3] == b"llo"


@use_of("sock_connect", "sock_accept")
async def socket_connections(loop: Loop) -> None:
    with listen() as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        accepted, address = await loop.sock_accept(listener)
        accepted.close()
        assert address == client.getsockname()


@use_of("sock_sendto", "sock_recvfrom", "sock_recvfrom_into")
async def socket_datagrams(loop: Loop) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as ours, socket.socket(type=socket.SOCK_DGRAM) as to:
        for sock in (ours, to):
            sock.setblocking(False)
            sock.bind(ANY_PORT)
        for _ in range(2):
            assert await loop.sock_sendto(ours, b"hello", to.getsockname()) == 5
        assert await loop.sock_recvfrom(to, 100) == (b"hello", ours.getsockname())
        space = bytearray(10)
        assert await loop.sock_recvfrom_into(to, space) == (5, ours.getsockname())


@use_of("sock_sendfile")
async def socket_sendfile(loop: Loop) -> None:
    with pair() as (ours, theirs), tempfile.TemporaryFile() as file:
        file.write(b"hello")
        file.seek(0)
        assert await loop.sock_sendfile(ours, file, fallback=False) == 5
        assert await loop.sock_recv(theirs, 100) == b"hello"


# ------------------------------------------------------------------ transports


@use_of("create_connection", "create_server")
async def tcp(_loop: Loop) -> None:
    async with serving(Echo) as served:
        client = await dial(served.address)
        await echo_once(client)
        await finish(client)


@use_of("create_unix_connection", "create_unix_server")
async def unix(loop: Loop) -> None:
    with tempfile.TemporaryDirectory(prefix="lx") as folder:
        path = os.path.join(folder, "socket")
        server = await loop.create_unix_server(Echo, path)
        _, client = await loop.create_unix_connection(Recorder, path)
        await echo_once(client)
        await finish(client)
        server.close()
        await server.wait_closed()


@use_of("connect_accepted_socket")
async def accepted_socket(loop: Loop) -> None:
    with listen() as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        accepted.setblocking(False)
        _, protocol = await loop.connect_accepted_socket(Recorder, accepted)
        client.send(b"hello")
        assert await protocol.read(5) == b"hello"
        await finish(protocol)


@use_of("sendfile")
async def sendfile(loop: Loop) -> None:
    async with connected(Recorder, Recorder) as (client, server):
        with tempfile.TemporaryFile() as file:
            file.write(b"hello")
            file.flush()
            assert await loop.sendfile(client.transport, file, 0, fallback=False) == 5
        assert await server.read(5) == b"hello"


@use_of("start_tls")
async def start_tls(loop: Loop) -> None:
    from tests.support.certs import client_context, server_context

    async with connected(Recorder, Recorder) as (client, server):
        sides = await asyncio.gather(
            loop.start_tls(client.transport, client, client_context(), server_hostname="localhost"),
            loop.start_tls(server.transport, server, server_context(), server_side=True),
        )
        client.transport, server.transport = sides
        client.transport.write(b"hello")
        assert await server.read(5) == b"hello"


@use_of("create_datagram_endpoint")
async def datagrams(loop: Loop) -> None:
    _, server = await loop.create_datagram_endpoint(DatagramRecorder, local_addr=ANY_PORT)
    address = server.transport.get_extra_info("sockname")
    _, client = await loop.create_datagram_endpoint(DatagramRecorder, remote_addr=address)
    client.transport.sendto(b"hello")
    assert await server.datagrams(1) == [b"hello"]
    for endpoint in (client, server):
        endpoint.transport.close()
        await endpoint.lost


@use_of("connect_read_pipe", "connect_write_pipe")
async def pipes(loop: Loop) -> None:
    reading, writing = os.pipe()
    source, reader = await loop.connect_read_pipe(Recorder, open(reading, "rb"))
    target, writer = await loop.connect_write_pipe(Recorder, open(writing, "wb"))
    target.write(b"hello")
    assert await reader.read(5) == b"hello"
    for transport, protocol in ((target, writer), (source, reader)):
        transport.close()
        await protocol.lost


@use_of("subprocess_exec", "subprocess_shell")
async def processes(loop: Loop) -> None:
    for starting in (
        loop.subprocess_exec(ProcessRecorder, "echo", "hello", stdin=None),
        loop.subprocess_shell(ProcessRecorder, "echo hello", stdin=None),
    ):
        transport, protocol = await starting
        await protocol.lost
        assert (transport.get_returncode(), protocol.data[1]) == (0, b"hello\n")
        transport.close()
