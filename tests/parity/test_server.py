"""The life of a Server: serving, closing, waiting, and its clients.

Owns: the methods and properties of what create_server returns; its parameters are in
test_server_options.py, the end of its clients in test_server_clients.py.
Thread: the test's own.
Must not: rely on wait_closed of asyncio before 3.12.1, which returned too early.
"""

import asyncio
import socket
from asyncio.trsock import TransportSocket
from typing import Any

import pytest

from tests.support.net import (
    Peer,
    capture_errors,
    dial,
    echo_once,
    only_on,
    run,
    serving,
    turns,
    with_peer,
)
from tests.support.recorders import Echo, Recorder, Registry


def test_server_while_open_and_after_close(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        assert isinstance(server, asyncio.AbstractServer)
        assert server.is_serving()
        assert server.get_loop() is loop
        assert isinstance(server.sockets, tuple)
        sock: Any = server.sockets[0]
        assert isinstance(sock, TransportSocket)
        address = sock.getsockname()
        assert address[1] != 0
        repr(server)
        server.close()
        assert not server.is_serving()
        assert server.sockets == ()
        server.close()
        await server.wait_closed()
        repr(server)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *address)

    run(loop, main())


def test_close_refuses_connections_at_once(loop: asyncio.AbstractEventLoop) -> None:
    """Not only after the loop's next turn: the address is free for others."""

    async def main() -> None:
        for _ in range(10):
            async with serving(Echo) as served:
                client = await dial(served.address)
                await echo_once(client)
                client.transport.abort()
                await client.lost
                await turns()
                served.server.close()
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(served.address, timeout=5).close()

    run(loop, main())


def test_many_connections_in_a_burst(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        registry = Registry()
        async with serving(registry, backlog=300) as served:
            clients = await asyncio.gather(*(dial(served.address) for _ in range(200)))
            await asyncio.gather(
                *(echo_once(client, b"%03d" % n) for n, client in enumerate(clients))
            )
            assert len(registry.protocols) == 200
            for client in clients:
                client.transport.close()
            for protocol in (*clients, *registry.protocols):
                assert await protocol.lost is None

    run(loop, main())


def test_close_keeps_the_connections(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        registry = Registry()
        async with serving(registry) as served:
            client = await dial(served.address)
            await echo_once(client)
            served.server.close()
            await echo_once(client, b"still here")
            client.transport.close()
            assert await client.lost is None
            assert await registry.protocols[0].lost is None

    run(loop, main())


def test_start_serving_later(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo, start_serving=False) as served:
            assert not served.server.is_serving()
            with pytest.raises(ConnectionRefusedError):  # bound, but not listening yet
                socket.create_connection(served.address)
            await served.server.start_serving()
            assert served.server.is_serving()
            await served.server.start_serving()
            client = await dial(served.address)
            await echo_once(client)
            client.transport.close()
            await client.lost

    run(loop, main())


def test_a_server_that_never_served(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo, start_serving=False) as served:
            served.server.close()
            assert served.server.sockets == ()

    run(loop, main())


@only_on("loopx")
def test_start_serving_after_close(loop: asyncio.AbstractEventLoop) -> None:
    """An error that says why; asyncio fails with TypeError: 'NoneType' is not iterable."""

    async def main() -> None:
        async with serving(Echo) as served:
            served.server.close()
            with pytest.raises(RuntimeError, match="closed"):
                await served.server.start_serving()

    run(loop, main())


def test_serve_forever_until_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo, start_serving=False) as served:
            task = asyncio.ensure_future(served.server.serve_forever())
            await turns()
            assert served.server.is_serving()
            with pytest.raises(RuntimeError, match="already being awaited"):
                await served.server.serve_forever()
            client = await dial(served.address)
            await echo_once(client)
            client.transport.abort()
            await client.lost
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not served.server.is_serving()
            assert served.server.sockets == ()
            with pytest.raises(RuntimeError, match="is closed"):
                await served.server.serve_forever()

    run(loop, main())


def test_close_ends_serve_forever(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo) as served:
            task = asyncio.ensure_future(served.server.serve_forever())
            await turns()
            served.server.close()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(loop, main())


def test_async_with_closes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await loop.create_server(Echo, "127.0.0.1", 0) as server:
            assert server.is_serving()
            client = await dial(server.sockets[0].getsockname())
            await echo_once(client)
            client.transport.close()
            await client.lost
        assert not server.is_serving()
        assert server.sockets == ()

    run(loop, main())


@only_on("loopx")
def test_a_factory_that_raises(loop: asyncio.AbstractEventLoop) -> None:
    """That connection is closed and the next one served; debug mode reports it, as asyncio's does.

    asyncio leaves the socket to the garbage collector, with a ResourceWarning.
    """

    class Moody(Registry):
        def __call__(self) -> Echo:
            protocol = super().__call__()
            if len(self.protocols) == 1:
                raise ZeroDivisionError("first time")
            return protocol

    async def main() -> None:
        errors = capture_errors(loop)
        async with serving(Moody()) as served:
            first = Peer(socket.create_connection(served.address))
            second = await dial(served.address)
            await echo_once(second)
            assert [type(context["exception"]) for context in errors] == [ZeroDivisionError]
            assert await ended(first)
            first.close()
            second.transport.close()
            await second.lost

    async def ended(peer: Peer) -> bool:
        try:
            return await peer.recv() == b""
        except ConnectionResetError:
            return True

    loop.set_debug(True)
    run(loop, main())


@only_on("loopx")
def test_a_factory_that_raises_leaves_no_socket(loop: asyncio.AbstractEventLoop) -> None:
    """create_connection closes its socket; asyncio leaves it to the garbage collector."""

    def factory() -> Recorder:
        raise ZeroDivisionError

    async def main() -> None:
        async with serving(Echo) as served:
            with pytest.raises(ZeroDivisionError):
                await loop.create_connection(factory, *served.address)

    run(loop, main())


def test_closing_the_server_from_a_connection(loop: asyncio.AbstractEventLoop) -> None:
    class Closer(Echo):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            servers[0].close()

    async def main() -> None:
        async with serving(Closer) as served:
            server = served.server
            servers.append(server)
            client = await dial(served.address)
            await echo_once(client)
            assert server.sockets == ()
            client.transport.close()
            await client.lost

    servers: list[asyncio.Server] = []
    run(loop, main())


def test_connections_waiting_while_the_server_closes(loop: asyncio.AbstractEventLoop) -> None:
    """Accepted or refused, but none left hanging, and no descriptor lost."""

    async def main() -> None:
        registry = Registry()
        async with serving(registry) as served:
            peers = [Peer(socket.create_connection(served.address)) for _ in range(50)]
            await asyncio.sleep(0)  # the accepting may have begun
            served.server.close()
            await turns()
            for peer in peers:
                peer.close()
            for protocol in registry.protocols:
                await protocol.made
                await protocol.lost

    run(loop, main())


def test_two_servers_side_by_side(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo) as one, serving(Echo) as other:
            left, right = await dial(one.address), await dial(other.address)
            one.server.close()
            await echo_once(left)
            await echo_once(right)
            for client in (left, right):
                client.transport.close()
                await client.lost

    run(loop, main())


def test_server_survives_its_loops_pauses(loop: asyncio.AbstractEventLoop) -> None:
    """run_until_complete several times: the listening goes on in between."""
    registry = Registry()

    async def open_server() -> asyncio.Server:
        return await loop.create_server(registry, "127.0.0.1", 0)

    async def one_client() -> None:
        async with with_peer(Recorder):  # something else on the same loop
            client = await dial(address)
            await echo_once(client)
            client.transport.close()
            await client.lost

    server = run(loop, open_server())
    address = server.sockets[0].getsockname()
    for _ in range(3):
        run(loop, one_client())

    async def close_server() -> None:
        server.close()
        await server.wait_closed()
        for protocol in registry.protocols:
            await protocol.lost

    run(loop, close_server())
    assert len(registry.protocols) == 3
