"""The parameters of create_server, and the errors for those that make no sense.

Owns: hosts, ports, families, sockets handed in, socket options.  TLS has its own files.
Thread: the test's own.
Must not: bind anything but loopback addresses and ports chosen by the kernel.
"""

import asyncio
import errno
import socket
from typing import Any

import pytest

from tests.support.net import listen, run, serving, since_python
from tests.support.recorders import Echo, Recorder


async def echo_through(address: Any) -> None:
    """Connect, send, receive, close."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(Recorder, *address[:2])
    client.transport.write(b"hello")
    assert await client.read(5) == b"hello"
    client.transport.close()
    assert await client.lost is None


async def check(server: asyncio.Server) -> None:
    """Every socket of `server` serves; then close it."""
    for sock in server.sockets:
        await echo_through(sock.getsockname())
    server.close()
    await server.wait_closed()


def test_several_hosts(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.2", "::1"], 0)
        names = {sock.getsockname()[0] for sock in server.sockets}
        assert names == {"127.0.0.1", "127.0.0.2", "::1"}
        await check(server)

    run(loop, main())


def test_the_same_host_twice_is_bound_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.1"], 0)
        assert len(server.sockets) == 1
        await check(server)

    run(loop, main())


@pytest.mark.parametrize("host", [None, ""])
def test_all_interfaces(loop: asyncio.AbstractEventLoop, host: str | None) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, host, 0)
        names = {sock.family: sock.getsockname() for sock in server.sockets}
        assert names.keys() == {socket.AF_INET, socket.AF_INET6}
        assert names[socket.AF_INET][0] == "0.0.0.0"
        assert names[socket.AF_INET6][0] == "::"
        await echo_through(("127.0.0.1", names[socket.AF_INET][1]))
        await echo_through(("::1", names[socket.AF_INET6][1]))
        server.close()
        await server.wait_closed()

    run(loop, main())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_family(loop: asyncio.AbstractEventLoop, family: socket.AddressFamily) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, None, 0, family=family)
        assert [sock.family for sock in server.sockets] == [family]
        await check(server)

    run(loop, main())


def test_ipv6_sockets_are_ipv6_only(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "::1", 0)
        (sock,) = server.sockets
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        await check(server)

    run(loop, main())


def test_flags_reach_getaddrinfo(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(socket.gaierror):
            await loop.create_server(Echo, "localhost", 0, flags=socket.AI_NUMERICHOST)

    run(loop, main())


@pytest.mark.parametrize("listening", ["listening", "bound"])
def test_a_socket_handed_in(loop: asyncio.AbstractEventLoop, listening: str) -> None:
    async def main() -> None:
        sock = listen() if listening == "listening" else socket.socket()
        if listening == "bound":
            sock.bind(("127.0.0.1", 0))
        server = await loop.create_server(Echo, sock=sock)
        assert sock.gettimeout() == 0
        await check(server)
        assert sock.fileno() == -1

    run(loop, main())


def test_reuse_port_shares_an_address(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await loop.create_server(Echo, "127.0.0.1", 0, reuse_port=True)
        address = one.sockets[0].getsockname()
        other = await loop.create_server(Echo, *address, reuse_port=True)
        for _ in range(10):
            await echo_through(address)
        one.close()
        await one.wait_closed()
        await check(other)

    run(loop, main())


@pytest.mark.parametrize(("value", "expected"), [(None, True), (True, True), (False, False)])
def test_reuse_address(
    loop: asyncio.AbstractEventLoop, value: bool | None, expected: bool
) -> None:
    async def main() -> None:
        async with serving(Echo, reuse_address=value) as served:
            (sock,) = served.server.sockets
            assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)) is expected

    run(loop, main())


@since_python(3, 13)
@pytest.mark.parametrize(("value", "expected"), [(None, False), (True, True), (False, False)])
def test_keep_alive(
    loop: asyncio.AbstractEventLoop, value: bool | None, expected: bool
) -> None:
    async def main() -> None:
        async with serving(Echo, keep_alive=value) as served:
            (sock,) = served.server.sockets
            assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is expected

    run(loop, main())


def test_backlog_reaches_the_socket(loop: asyncio.AbstractEventLoop) -> None:
    """A server that does not accept yet queues no more connections than its backlog allows."""

    async def main() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            server = await loop.create_server(Echo, sock=sock, backlog=1)
            clients = []
            for _ in range(10):
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex(server.sockets[0].getsockname())
                clients.append(client)
            # No turn of the loop has passed: the kernel alone answered.
            connected = sum(is_connected(client) for client in clients)
            assert 1 <= connected <= 2
            for client in clients:
                client.close()
            server.close()
            await server.wait_closed()

    run(loop, main())


def is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def test_port_in_use(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo) as served:
            with pytest.raises(OSError, match="error while attempting to bind") as caught:
                await loop.create_server(Echo, *served.address)
            assert caught.value.errno == errno.EADDRINUSE
            assert repr(served.address[1]) in str(caught.value)

    run(loop, main())


def test_port_in_use_on_one_of_two_hosts(loop: asyncio.AbstractEventLoop) -> None:
    """The socket that could be bound is closed again."""

    async def main() -> None:
        async with serving(Echo) as served:
            port = served.address[1]
            with pytest.raises(OSError) as caught:
                await loop.create_server(Echo, ["127.0.0.2", "127.0.0.1"], port)
            assert caught.value.errno == errno.EADDRINUSE
            server = await loop.create_server(Echo, "127.0.0.2", port)
            await check(server)

    run(loop, main())


def test_address_of_another_machine(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(OSError):
            await loop.create_server(Echo, "192.0.2.1", 0)

    run(loop, main())


def test_host_that_does_not_resolve(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    async def main() -> None:
        with pytest.raises(socket.gaierror):
            await loop.create_server(Echo, "no.such.name.test", 0)

    run(loop, main())


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, ValueError),
        ({"host": "127.0.0.1", "port": 0, "sock": "stream"}, ValueError),
        ({"sock": "datagram"}, ValueError),
        ({"host": "127.0.0.1\0.test", "port": 0}, ValueError),
        ({"host": "127.0.0.1", "port": 0, "ssl": True}, TypeError),
        ({"host": "127.0.0.1", "port": 0, "ssl_handshake_timeout": 1.0}, ValueError),
        ({"host": "127.0.0.1", "port": 0, "ssl_shutdown_timeout": 1.0}, ValueError),
    ],
    ids=["nothing", "host and sock", "datagram", "null byte", "ssl=True", "handshake", "shutdown"],
)
def test_options_that_make_no_sense(
    loop: asyncio.AbstractEventLoop, options: dict[str, Any], kind: type[Exception]
) -> None:
    async def main() -> None:
        kinds = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM}
        given = dict(options)
        kind_of_socket = kinds.get(given.get("sock", ""), socket.SOCK_STREAM)
        with socket.socket(socket.AF_INET, kind_of_socket) as sock:
            if "sock" in given:
                given["sock"] = sock
            with pytest.raises(kind):
                await loop.create_server(Echo, **given)

    run(loop, main())
