"""websockets, client and server on one loop: large messages, ping, close codes, many at once, TLS.

Owns: a server and its clients in each test.
Thread: the loop's own.
Must not: choose a port.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.certs import client_context, server_context
from tests.support.net import run
from tests.support.payload import MIB, digest, pattern

websockets = pytest.importorskip("websockets")
TIME_LIMIT_S = 40.0


async def echo(connection: Any) -> None:
    """Echo; 'close' is answered by closing with 4000."""
    async for message in connection:
        if message == "close":
            await connection.close(4000, "as you wish")
        else:
            await connection.send(message)


@contextlib.asynccontextmanager
async def serving(handler: Any = echo, **options: Any) -> AsyncIterator[str]:
    """`handler` on 127.0.0.1; yields the URL."""
    async with websockets.serve(handler, "127.0.0.1", 0, max_size=None, **options) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"{'wss' if options.get('ssl') else 'ws'}://localhost:{port}"


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("tls", [False, True])
def test_messages_of_1_mb(
    loop: asyncio.AbstractEventLoop, tls: bool, compression: str | None
) -> None:
    data = pattern(MIB)

    async def main() -> None:
        contexts = (server_context(), client_context()) if tls else (None, None)
        async with serving(ssl=contexts[0], compression=compression) as url:
            options = {"ssl": contexts[1], "compression": compression, "max_size": None}
            async with websockets.connect(url, **options) as client:
                for _ in range(20):
                    await client.send(data)
                    assert digest(await client.recv()) == digest(data)
                await client.send("text \N{SNOWMAN}")
                assert await client.recv() == "text \N{SNOWMAN}"

    run(loop, main(), TIME_LIMIT_S)


def test_ping(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving() as url, websockets.connect(url) as client:
            for _ in range(10):
                assert await (await client.ping()) >= 0

    run(loop, main(), TIME_LIMIT_S)


def test_a_peer_that_does_not_answer_pings(loop: asyncio.AbstractEventLoop) -> None:
    """Both the ping and the closing handshake run into their timers."""

    async def main() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            from websockets.server import ServerProtocol

            protocol = ServerProtocol()
            while not (events := protocol.events_received()):
                protocol.receive_data(await reader.read(1000))
            protocol.send_response(protocol.accept(events[0]))
            writer.writelines(protocol.data_to_send())
            await reader.read()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        async with server:
            url = f"ws://localhost:{server.sockets[0].getsockname()[1]}"
            options = {"ping_interval": 0.05, "ping_timeout": 0.05, "close_timeout": 0.05}
            async with websockets.connect(url, **options) as client:
                with pytest.raises(websockets.ConnectionClosedError) as closed:
                    await client.recv()
                assert closed.value.sent.code == 1011

    run(loop, main(), TIME_LIMIT_S)


def test_close_codes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        codes: asyncio.Queue[int] = asyncio.Queue()

        async def handler(connection: Any) -> None:
            with contextlib.suppress(websockets.ConnectionClosedError):
                await echo(connection)
            codes.put_nowait(connection.close_code)

        async with serving(handler) as url:
            async with websockets.connect(url) as client:
                await client.send("close")
                with pytest.raises(websockets.ConnectionClosedError):
                    await client.recv()
                assert (client.close_code, client.close_reason) == (4000, "as you wish")
            assert await codes.get() == 4000
            async with websockets.connect(url) as client:
                await client.close(1001, "going")
            assert await codes.get() == 1001

    run(loop, main(), TIME_LIMIT_S)


def test_a_connection_that_breaks(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        codes: asyncio.Queue[int] = asyncio.Queue()

        async def handler(connection: Any) -> None:
            with contextlib.suppress(websockets.ConnectionClosedError):
                await echo(connection)
            codes.put_nowait(connection.close_code)

        async with serving(handler) as url:
            client = await websockets.connect(url)
            client.transport.abort()
            assert await codes.get() == 1006
            await client.wait_closed()

    run(loop, main(), TIME_LIMIT_S)


def test_many_connections(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving() as url, contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(websockets.connect(url)) for _ in range(100)
            ]
            for turn in range(10):
                await asyncio.gather(*(each.send(f"turn {turn}") for each in clients))
                answers = await asyncio.gather(*(each.recv() for each in clients))
                assert set(answers) == {f"turn {turn}"}

    run(loop, main(), TIME_LIMIT_S)


def test_over_a_unix_path(loop: asyncio.AbstractEventLoop) -> None:
    from websockets.asyncio.client import unix_connect
    from websockets.asyncio.server import unix_serve

    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="lx") as folder:
            path = f"{folder}/socket"
            async with unix_serve(echo, path), unix_connect(path) as client:
                await client.send("hello")
                assert await client.recv() == "hello"

    run(loop, main(), TIME_LIMIT_S)
