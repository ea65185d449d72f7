"""A Server and its clients: waiting for the last of them, closing them, aborting them.

Owns: wait_closed, close_clients, abort_clients.
Thread: the test's own.
Must not: run on asyncio before 3.13, whose wait_closed returned too early (fixed in 3.12.1) and
which has no close_clients.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.net import (
    TIMEOUT_S,
    Peer,
    dial,
    echo_once,
    only_on,
    run,
    serving,
    since_python,
    turns,
)
from tests.support.recorders import Echo, Registry


@since_python(3, 13)
def test_wait_closed_waits_for_the_last_connection(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        registry = Registry()
        async with serving(registry) as served:
            clients = [await dial(served.address) for _ in range(3)]
            for client in clients:
                await echo_once(client)
            waiting = [asyncio.ensure_future(served.server.wait_closed()) for _ in range(2)]
            await turns()
            served.server.close()
            for client in clients:
                await turns()
                assert not any(task.done() for task in waiting)
                client.transport.close()
                await client.lost
            await asyncio.gather(*waiting)
            assert all(protocol.lost.done() for protocol in registry.protocols)
            await served.server.wait_closed()

    run(loop, main())


@since_python(3, 13)
def test_wait_closed_waits_for_close(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo) as served:
            waiting = asyncio.ensure_future(served.server.wait_closed())
            await turns()
            assert not waiting.done()
            client = await dial(served.address)
            await echo_once(client)
            client.transport.close()
            await client.lost
            await turns()
            assert not waiting.done()
            served.server.close()
            await waiting

    run(loop, main())


@since_python(3, 13)
def test_cancelled_wait_closed_harms_nobody(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo) as served:
            first = asyncio.ensure_future(served.server.wait_closed())
            second = asyncio.ensure_future(served.server.wait_closed())
            await turns()
            first.cancel()
            await turns()
            served.server.close()
            await second
            assert first.cancelled()

    run(loop, main())


@since_python(3, 13)
@pytest.mark.parametrize("name", ["close_clients", "abort_clients"])
def test_ending_the_clients(loop: asyncio.AbstractEventLoop, name: str) -> None:
    async def main() -> None:
        registry = Registry()
        async with serving(registry) as served:
            clients = [await dial(served.address) for _ in range(5)]
            for client in clients:
                await echo_once(client)
            getattr(served.server, name)()
            for protocol in registry.protocols:
                assert await protocol.lost is None
            for client in clients:
                assert await client.lost is None
            newcomer = await dial(served.address)  # the server itself goes on
            await echo_once(newcomer)
            served.server.close()
            getattr(served.server, name)()
            await newcomer.lost
            await served.server.wait_closed()
            getattr(served.server, name)()

    run(loop, main())


@since_python(3, 13)
def test_close_clients_flushes_and_abort_clients_does_not(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        data = b"x" * (16 << 20)
        for name in ("close_clients", "abort_clients"):
            registry = Registry()
            async with serving(registry) as served:
                sock = socket.create_connection(served.address)
                peer = Peer(sock)
                await peer.send(b"!")
                assert await peer.recv() == b"!"
                (protocol,) = registry.protocols
                protocol.transport.write(data)
                getattr(served.server, name)()
                if name == "close_clients":
                    assert len(await peer.recv_exactly(len(data))) == len(data)
                assert await protocol.lost is None
                peer.close()

    run(loop, main())


@only_on("loopx")
@pytest.mark.parametrize("name", ["close", "abort"])
def test_a_client_closed_after_its_loop_leaves_the_server(
    loop_factory: Callable[[], Any], name: str
) -> None:
    """asyncio's server keeps it, because closing it fails half-way."""
    registry = Registry()

    async def main() -> tuple[Any, socket.socket]:
        server = await asyncio.get_running_loop().create_server(registry, "127.0.0.1", 0)
        sock = socket.create_connection(server.sockets[0].getsockname(), TIMEOUT_S)
        while not registry.protocols:
            await turns(1)
        await registry.protocols[0].made
        return server, sock

    loop = loop_factory()
    server, sock = run(loop, main())
    loop.close()
    transport = registry.protocols[0].transport
    assert list(server._clients) == [transport]
    with sock, pytest.raises(RuntimeError, match="closed"):
        getattr(transport, name)()
    assert list(server._clients) == []
