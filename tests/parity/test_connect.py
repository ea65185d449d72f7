"""create_connection and connect_accepted_socket: parameters, errors, cancellation.

Owns: everything before the transport exists.  Several addresses and happy eyeballs are in
test_connect_addresses.py, TLS in test_tls.py.
Thread: the test's own.
Must not: ask a name server; names are resolved by a stand-in for socket.getaddrinfo.
"""

import asyncio
import socket
import ssl
from typing import Any

import pytest

from tests.support.net import (
    Peer,
    full_listener,
    listen,
    run,
    serving,
    since_python,
    tcp_pair,
    turns,
    unused_port,
)
from tests.support.recorders import Echo, Recorder


async def greet(client: Recorder) -> None:
    """A round trip with an echo server, then the end."""
    client.transport.write(b"hello")
    assert await client.read(5) == b"hello"
    client.transport.close()
    assert await client.lost is None


def test_host_and_port(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo) as served:
            _, client = await loop.create_connection(Recorder, *served.address)
            await greet(client)
            text: Any = str(served.address[1])
            _, client = await loop.create_connection(Recorder, "127.0.0.1", text)
            await greet(client)
            _, client = await loop.create_connection(
                Recorder, "localhost", served.address[1], family=socket.AF_INET
            )
            await greet(client)

    run(loop, main())


def test_ipv6(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "::1", 0)
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(Recorder, *address[:2])
        assert transport.get_extra_info("peername") == address
        await greet(client)
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        port = unused_port()
        with pytest.raises(ConnectionRefusedError, match=str(port)):
            await loop.create_connection(Recorder, "127.0.0.1", port)

    run(loop, main())


def test_a_literal_address_needs_no_resolver(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_options: Any) -> Any:
        raise AssertionError("asked the resolver")

    async def main() -> None:
        async with serving(Echo) as served:
            monkeypatch.setattr(socket, "getaddrinfo", fail)
            _, client = await loop.create_connection(Recorder, *served.address)
            await greet(client)

    run(loop, main())


def test_local_addr(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo) as served:
            transport, client = await loop.create_connection(
                Recorder, *served.address, local_addr=("127.0.0.3", 0)
            )
            assert transport.get_extra_info("sockname")[0] == "127.0.0.3"
            await greet(client)

    run(loop, main())


def test_local_addr_in_use(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo) as served:
            with pytest.raises(OSError, match="error while attempting to bind on address"):
                await loop.create_connection(
                    Recorder, *served.address, local_addr=served.address
                )

    run(loop, main())


def test_local_addr_of_the_wrong_family(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo) as served:
            with pytest.raises(OSError):
                await loop.create_connection(Recorder, *served.address, local_addr=("::1", 0))

    run(loop, main())


def test_a_connected_socket(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo) as served:
            sock = socket.create_connection(served.address)
            transport, client = await loop.create_connection(Recorder, sock=sock)
            assert sock.gettimeout() == 0
            assert transport.get_extra_info("socket").fileno() == sock.fileno()
            await greet(client)
            await turns()
            assert sock.fileno() == -1

    run(loop, main())


def test_a_connected_unix_socket(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        _, client = await loop.create_connection(Recorder, sock=ours)
        peer = Peer(theirs)
        await peer.send(b"over a pair")
        assert await client.read(11) == b"over a pair"
        peer.close()
        assert await client.lost is None

    run(loop, main())


def test_connect_accepted_socket(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        dialled, accepted = tcp_pair()
        transport, server = await loop.connect_accepted_socket(Echo, accepted)
        assert server.transport is transport
        assert accepted.gettimeout() == 0
        assert transport.get_extra_info("peername") == dialled.getsockname()
        _, client = await loop.create_connection(Recorder, sock=dialled)
        await greet(client)
        assert await server.lost is None

    run(loop, main())


def test_connect_accepted_socket_as_a_pre_forking_server_does(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        with listen() as listener:
            listener.setblocking(False)
            _, client = await loop.create_connection(Recorder, *listener.getsockname())
            sock, _ = await loop.sock_accept(listener)
            await loop.connect_accepted_socket(Echo, sock)
            await greet(client)
            await turns()

    run(loop, main())


def test_hosts_that_do_not_resolve(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async def main() -> None:
        with pytest.raises(socket.gaierror, match="no such name"):
            await loop.create_connection(Recorder, "no.such.name.test", 80)

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    run(loop, main())


def test_hosts_that_resolve_to_nothing(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="empty list"):
            await loop.create_connection(Recorder, "empty.test", 80)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: [])
    run(loop, main())


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, ValueError),
        ({"host": "127.0.0.1", "port": 1, "sock": "stream"}, ValueError),
        ({"sock": "datagram"}, ValueError),
        ({"host": "127.0.0.1\0.test", "port": 1}, ValueError),
        ({"host": "127.0.0.1", "port": 1, "server_hostname": "x"}, ValueError),
        ({"sock": "stream", "ssl": True}, ValueError),
        ({"port": 1, "ssl": True}, ValueError),
        ({"host": "127.0.0.1", "port": 1, "ssl_handshake_timeout": 1}, ValueError),
        ({"host": "127.0.0.1", "port": 1, "ssl_shutdown_timeout": 1}, ValueError),
    ],
    ids=[
        "nothing", "host and sock", "datagram", "null byte", "hostname without TLS",
        "TLS over sock, no name", "TLS without host", "handshake timeout", "shutdown timeout",
    ],  # fmt: skip
)
def test_options_that_make_no_sense(
    loop: asyncio.AbstractEventLoop, options: dict[str, Any], kind: type[Exception]
) -> None:
    async def main() -> None:
        kinds = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM}
        given = dict(options)
        sock_kind = kinds.get(given.get("sock", ""), socket.SOCK_STREAM)
        with socket.socket(socket.AF_INET, sock_kind) as sock:
            if "sock" in given:
                given["sock"] = sock
            with pytest.raises(kind):
                await loop.create_connection(Recorder, **given)

    run(loop, main())


def test_an_ssl_socket_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        left, right = socket.socketpair()
        wrapped = context.wrap_socket(left, do_handshake_on_connect=False)
        with right, wrapped:
            with pytest.raises(TypeError, match="SSLSocket"):
                await loop.create_connection(Recorder, sock=wrapped)
            with pytest.raises(TypeError, match="SSLSocket"):
                await loop.connect_accepted_socket(Recorder, wrapped)

    run(loop, main())


@pytest.mark.parametrize(
    "options", [{"ssl_handshake_timeout": 1}, {"ssl_shutdown_timeout": 1}, {"datagram": True}]
)
def test_bad_arguments_of_connect_accepted_socket(
    loop: asyncio.AbstractEventLoop, options: dict[str, Any]
) -> None:
    async def main() -> None:
        given = dict(options)
        kind = socket.SOCK_DGRAM if given.pop("datagram", False) else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as sock:
            with pytest.raises(ValueError):
                await loop.connect_accepted_socket(Recorder, sock, **given)

    run(loop, main())


def test_cancelled_while_connecting(loop: asyncio.AbstractEventLoop) -> None:
    """The address neither accepts nor refuses; cancelling leaves no socket behind."""

    async def main() -> None:
        with full_listener("127.0.0.2") as address:
            task = asyncio.ensure_future(loop.create_connection(Recorder, *address))
            await turns(20)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(loop, main())


def test_timeout_while_connecting(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with full_listener("127.0.0.2") as address:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await loop.create_connection(Recorder, *address)

    run(loop, main())


def test_cancelled_after_connecting(loop: asyncio.AbstractEventLoop) -> None:
    """Between the connection and its waiter: the transport is closed, nothing leaks."""

    class Canceller(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.append(self)
            tasks[0].cancel()

    async def main() -> None:
        async with serving(Echo) as served:
            connecting = loop.create_connection(Canceller, *served.address)
            tasks.append(asyncio.ensure_future(connecting))
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]
            assert await made[0].lost is None

    tasks: list[asyncio.Task[Any]] = []
    made: list[Recorder] = []
    run(loop, main())


def test_connecting_many_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo, backlog=500) as served:
            made = await asyncio.gather(
                *(loop.create_connection(Recorder, *served.address) for _ in range(200))
            )
            await asyncio.gather(*(greet(client) for _, client in made))

    run(loop, main())


@since_python(3, 12)
def test_all_errors_of_one_address(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        options: dict[str, Any] = {"all_errors": True}
        with pytest.raises(ExceptionGroup) as caught:
            await loop.create_connection(Recorder, "127.0.0.1", unused_port(), **options)
        assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError]

    run(loop, main())
