"""aiohttp's WebSockets on both loops, server and client.

Owns: text and binary echo, large messages, ping, both ends of the closing handshake.
Thread: the test's own.
Must not: leave a session open.
"""

import asyncio

import aiohttp
import pytest
from aiohttp import WSMsgType

from tests.support.net import run
from tests.support.payload import MIB, digest, pattern
from tests.support.web import serving_app


def test_echo_of_text_and_bytes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{base}/ws") as socket:
                for number in range(200):
                    await socket.send_str(f"message {number}")
                    await socket.send_bytes(b"%d" % number)
                    assert await socket.receive_str() == f"message {number}"
                    assert await socket.receive_bytes() == b"%d" % number

    run(loop, main())


@pytest.mark.parametrize("size_bytes", [0, 1, 125, 126, 65_535, 65_536, 16 * MIB])
def test_sizes(loop: asyncio.AbstractEventLoop, size_bytes: int) -> None:
    async def main() -> None:
        data = pattern(size_bytes)
        async with serving_app() as base, aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{base}/ws", max_msg_size=0) as socket:
                await socket.send_bytes(data)
                assert digest(await socket.receive_bytes()) == digest(data)

    run(loop, main())


def test_many_messages_without_waiting(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{base}/ws") as socket:

                async def send() -> None:
                    for number in range(3000):
                        await socket.send_str(str(number))

                sending = asyncio.ensure_future(send())
                for number in range(3000):
                    assert await socket.receive_str() == str(number)
                await sending

    run(loop, main())


def test_ping(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{base}/ws", autoping=False) as socket:
                await socket.ping(b"are you there?")
                message = await socket.receive()
                assert (message.type, bytes(message.data)) == (WSMsgType.PONG, b"are you there?")

    run(loop, main())


def test_closed_by_the_client(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            socket = await session.ws_connect(f"{base}/ws")
            assert await socket.close(code=4001, message=b"enough")
            assert socket.closed
            async with session.get(f"{base}/close_codes") as response:
                assert await response.json() == [4001]

    run(loop, main())


def test_closed_by_the_server(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{base}/ws") as socket:
                await socket.send_str("close")
                message = await socket.receive()
                assert message.type == WSMsgType.CLOSE
                assert (message.data, message.extra) == (4000, "as you wish")
                assert socket.close_code == 4000

    run(loop, main())


def test_a_client_that_vanishes(loop: asyncio.AbstractEventLoop) -> None:
    """No closing handshake: the handler ends, the server goes on."""

    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            socket = await session.ws_connect(f"{base}/ws")
            await socket.send_str("x")
            await socket.receive_str()
            connection = socket._response.connection
            assert connection is not None
            assert connection.transport is not None
            connection.transport.abort()
            async with session.get(f"{base}/hello") as answer:
                assert await answer.text() == "hello"
            await socket.close()

    run(loop, main())


def test_fifty_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def one(session: aiohttp.ClientSession, base: str, number: int) -> None:
        async with session.ws_connect(f"{base}/ws") as socket:
            for turn in range(20):
                await socket.send_str(f"{number} {turn}")
                assert await socket.receive_str() == f"{number} {turn}"

    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            await asyncio.gather(*(one(session, base, number) for number in range(50)))

    run(loop, main())
