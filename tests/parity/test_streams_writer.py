"""asyncio.StreamWriter and start_server over the loop's transports: drain, close, handlers.

Owns: writing through asyncio.open_connection, and servers made of coroutines.
Thread: the test's own; peers block in worker threads.
Must not: keep a writer open at the end of a test.
"""

import asyncio
import contextlib
import inspect
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.support.net import Peer, capture_errors, run, turns
from tests.support.payload import MIB, digest, pattern

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def stream_server(handler: Handler, **options: Any) -> AsyncIterator[tuple[str, int]]:
    """asyncio.start_server(handler) on port 0; yields the address."""
    tasks: list[Any] = []

    async def followed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        await handler(reader, writer)

    wanted = followed if inspect.iscoroutinefunction(handler) else handler
    server = await asyncio.start_server(wanted, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*tasks, return_exceptions=True)
        await turns()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes until the end."""
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def test_lines_there_and_back(loop: asyncio.AbstractEventLoop) -> None:
    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            writer.write(line.upper())
        await close(writer)

    async def main() -> None:
        async with stream_server(upper) as address:
            reader, writer = await asyncio.open_connection(*address)
            for number in range(100):
                writer.write(b"line %d\n" % number)
                assert await reader.readline() == b"LINE %d\n" % number
            assert writer.can_write_eof()
            writer.write_eof()
            assert await reader.read() == b""
            await close(writer)

    run(loop, main())


def test_much_both_ways_with_drain(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(20 * MIB)
        async with stream_server(echo) as address:
            reader, writer = await asyncio.open_connection(*address)

            async def send() -> None:
                for start in range(0, len(data), 100_000):
                    writer.write(data[start : start + 100_000])
                    await writer.drain()
                writer.write_eof()

            _, got = await asyncio.gather(send(), reader.read())
            assert digest(got) == digest(data)
            await close(writer)

    run(loop, main())


def test_drain_waits_for_the_peer(loop: asyncio.AbstractEventLoop) -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        transport: Any = writer.transport
        transport.pause_reading()
        await release.wait()
        transport.resume_reading()
        await reader.read()
        await close(writer)

    async def main() -> None:
        async with stream_server(hold) as address:
            _reader, writer = await asyncio.open_connection(*address)
            await writer.drain()  # nothing pending: returns at once
            writer.write(b"x" * 16 * MIB)
            drains = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
            await turns(50)
            assert not any(task.done() for task in drains)
            release.set()
            await asyncio.gather(*drains)
            low, _high = writer.transport.get_write_buffer_limits()
            assert writer.transport.get_write_buffer_size() <= low
            await close(writer)
            await asyncio.gather(*handlers)

    release = asyncio.Event()
    handlers: list[Any] = []
    run(loop, main())


@pytest.mark.parametrize("ending", ["reset by the peer", "aborted here"])
def test_drain_ends_when_the_connection_does(
    loop: asyncio.AbstractEventLoop, ending: str
) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            _reader, writer = await asyncio.open_connection(*listener.getsockname())
            peer = Peer(listener.accept()[0])
            writer.write(b"x" * 16 * MIB)
            waiting = asyncio.ensure_future(writer.drain())
            await turns()
            if ending == "aborted here":
                writer.transport.abort()
                await waiting  # ends without an error, as connection_lost(None) says
            else:
                peer.reset()
                with pytest.raises(ConnectionError):
                    await waiting
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            peer.close()

    run(loop, main())


def test_drain_after_the_end_is_an_error(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            peer = Peer(listener.accept()[0])
            peer.reset()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.write(b"too late")
            with pytest.raises(ConnectionResetError):
                await writer.drain()
            writer.close()
            with pytest.raises(ConnectionResetError):
                await writer.wait_closed()

    run(loop, main())


def test_closing(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with stream_server(echo) as address:
            reader, writer = await asyncio.open_connection(*address)
            assert not writer.is_closing()
            writer.write(b"last words")
            writer.close()
            assert writer.is_closing()
            await writer.wait_closed()
            await writer.wait_closed()
            assert await reader.read() == b""

    run(loop, main())


def test_close_flushes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(6 * MIB)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            _reader, writer = await asyncio.open_connection(*listener.getsockname())
            peer = Peer(listener.accept()[0])
            writer.writelines([data[:1000], data[1000:MIB], data[MIB:]])
            reading = asyncio.ensure_future(peer.digest_to_eof())
            await close(writer)
            assert (await reading)[:2] == (len(data), digest(data))
            peer.close()

    run(loop, main())


def test_extra_information(loop: asyncio.AbstractEventLoop) -> None:
    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(repr(writer.get_extra_info("peername")).encode())
        await close(writer)

    async def main() -> None:
        async with stream_server(tell) as address:
            reader, writer = await asyncio.open_connection(*address)
            assert writer.get_extra_info("peername") == address
            name = writer.get_extra_info("sockname")
            assert await reader.read() == repr(name).encode()
            assert writer.get_extra_info("nothing", 7) == 7
            assert isinstance(writer.transport, asyncio.Transport)
            await close(writer)

    run(loop, main())


def test_a_plain_function_as_handler(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        tasks: list[asyncio.Task[None]] = []

        def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.ensure_future(echo(reader, writer)))

        async with stream_server(handler) as address:  # type: ignore[arg-type]
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            await close(writer)
            await asyncio.gather(*tasks)

    run(loop, main())


def test_an_exception_in_a_handler(loop: asyncio.AbstractEventLoop) -> None:
    async def faulty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()
        raise ZeroDivisionError("in the handler")

    async def main() -> None:
        errors = capture_errors(loop)
        async with stream_server(faulty) as address:
            for _ in range(2):
                reader, writer = await asyncio.open_connection(*address)
                writer.write(b"\n")
                assert await reader.read() == b""
                await close(writer)
        assert [type(context["exception"]) for context in errors] == [ZeroDivisionError] * 2

    run(loop, main())


def test_a_hundred_clients(loop: asyncio.AbstractEventLoop) -> None:
    async def client(address: tuple[str, int], number: int) -> None:
        reader, writer = await asyncio.open_connection(*address)
        data = pattern(10_000 + number)
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data
        await close(writer)

    async def main() -> None:
        async with stream_server(echo, backlog=200) as address:
            await asyncio.gather(*(client(address, number) for number in range(100)))

    run(loop, main())


def test_streams_on_a_unix_path(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="lx") as folder:
            path = os.path.join(folder, "socket")
            server = await asyncio.start_unix_server(echo, path)
            reader, writer = await asyncio.open_unix_connection(path)
            data = pattern(3 * MIB)
            writer.write(data)
            writer.write_eof()
            assert digest(await reader.read()) == digest(data)
            await close(writer)
            server.close()
            await server.wait_closed()

    run(loop, main())


def test_limit_of_a_server(loop: asyncio.AbstractEventLoop) -> None:
    async def strict(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readline()
        except ValueError:
            writer.write(b"too long")
        await close(writer)

    async def main() -> None:
        async with stream_server(strict, limit=10) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"x" * 100 + b"\n")
            writer.write_eof()
            assert await reader.read() == b"too long"
            await close(writer)

    run(loop, main())
