"""grpc.aio, client and server on one loop: unary, streams both ways, cancellation, deadlines.

grpc polls in a thread of its own, which wakes the loop through a socket that `add_reader` watches.
Owns: a server and a channel in each test; messages are plain bytes, so no code is generated.
Thread: the loop's own, and grpc's.
Must not: choose a port.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.net import run
from tests.support.payload import MIB, digest, pattern

grpc = pytest.importorskip("grpc")
pytest.importorskip("grpc.aio")
TIME_LIMIT_S = 40.0
# grpc holds on to the last loop that it was used on, which is closed (`loop_factory` looks).
pytestmark = pytest.mark.keeps(r"objects left alive: 1 x [\w.]+Loop")
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Service:
    """What the server does; `cancelled` is set when a call was cancelled."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()

    async def unary(self, request: bytes, _context: Any) -> bytes:
        return request

    async def wait(self, _request: bytes, _context: Any) -> bytes:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError

    async def fail(self, _request: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")

    async def count(self, request: bytes, _context: Any) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    async def chat(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    def handlers(self) -> Any:
        return grpc.method_handlers_generic_handler(
            "loopx",
            {
                "unary": grpc.unary_unary_rpc_method_handler(self.unary),
                "wait": grpc.unary_unary_rpc_method_handler(self.wait),
                "fail": grpc.unary_unary_rpc_method_handler(self.fail),
                "count": grpc.unary_stream_rpc_method_handler(self.count),
                "chat": grpc.stream_stream_rpc_method_handler(self.chat),
            },
        )


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[Service, Any]]:
    """The service and a channel to it."""
    service = Service()
    server = grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers((service.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
            yield service, channel
    finally:
        await server.stop(None)


def test_unary_calls(loop: asyncio.AbstractEventLoop) -> None:
    data = pattern(10 * MIB)

    async def main() -> None:
        async with served() as (_service, channel):
            unary = channel.unary_unary("/loopx/unary")
            for number in range(200):
                assert await unary(b"%d" % number) == b"%d" % number
            answers = await asyncio.gather(*(unary(b"%d" % number) for number in range(200)))
            assert answers == [b"%d" % number for number in range(200)]
            assert digest(await unary(data)) == digest(data)

    run(loop, main(), TIME_LIMIT_S)


def test_streams(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with served() as (_service, channel):
            numbers = [int(each) async for each in channel.unary_stream("/loopx/count")(b"1000")]
            assert numbers == list(range(1000))
            call = channel.stream_stream("/loopx/chat")()
            for number in range(300):
                await call.write(b"%d" % number)
                assert await call.read() == b"%d" % number
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF

    run(loop, main(), TIME_LIMIT_S)


def test_a_cancelled_call(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with served() as (service, channel):

            async def ask() -> None:
                await channel.unary_unary("/loopx/wait")(b"")

            task = asyncio.ensure_future(ask())
            await service.started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await service.cancelled.wait()
            assert await channel.unary_unary("/loopx/unary")(b"on") == b"on"

    run(loop, main(), TIME_LIMIT_S)


def test_errors_and_deadlines(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with served() as (_service, channel):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary("/loopx/fail")(b"")
            assert failed.value.code() is grpc.StatusCode.NOT_FOUND
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await channel.unary_unary("/loopx/wait")(b"", timeout=0.05)
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    run(loop, main(), TIME_LIMIT_S)
