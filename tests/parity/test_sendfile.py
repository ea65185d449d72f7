"""loop.sendfile and loop.sock_sendfile: files into connections.

Owns: offsets, counts, file positions, fallbacks, order with writes, errors.
Thread: the test's own; the peer reads in a worker thread.
Must not: promise which system call does it.
"""

import asyncio
import inspect
import io
import os
import pathlib
import socket
from typing import Any, BinaryIO

import pytest

from tests.support import certs
from tests.support.net import Peer, connected, run, tcp_pair, turns, with_peer
from tests.support.payload import MIB, digest, pattern
from tests.support.recorders import Recorder

SIZE_BYTES = 5 * MIB + 321

# Whether asyncio leaves a file at the offset where nothing is sent: it came in the middle of
# release series (3.13.0 does not, 3.13.15 and 3.14.10 do), and took this parameter away.
_set_position = asyncio.SelectorEventLoop._sock_sendfile_update_filepos
ASYNCIO_LEAVES_OFFSET = "total_sent" not in inspect.signature(_set_position).parameters


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file with SIZE_BYTES of pattern."""
    file = tmp_path / "data"
    file.write_bytes(pattern(SIZE_BYTES))
    return file


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, None), (1000, None), (0, 1), (7, 3 * MIB), (0, SIZE_BYTES), (SIZE_BYTES - 5, 100)],
)
def test_parts_of_a_file(
    loop: asyncio.AbstractEventLoop,
    path: pathlib.Path,
    offset: int,
    count: int | None,
    family: str,
) -> None:
    async def main() -> None:
        expected = pattern(SIZE_BYTES)[offset:][:count]
        async with with_peer(Recorder, family) as (protocol, peer):
            with path.open("rb") as file:
                reading = asyncio.ensure_future(peer.digest_to_eof())
                sent = await loop.sendfile(protocol.transport, file, offset, count)
                assert sent == len(expected)
                assert file.tell() == offset + len(expected)
                protocol.transport.close()
                assert (await reading)[:2] == (len(expected), digest(expected))

    run(loop, main())


def test_in_order_with_writes(loop: asyncio.AbstractEventLoop, path: pathlib.Path) -> None:
    async def main() -> None:
        data = pattern(SIZE_BYTES)
        async with with_peer(Recorder) as (protocol, peer):
            reading = asyncio.ensure_future(peer.digest_to_eof())
            with path.open("rb") as file:
                protocol.transport.write(data)  # much is pending when the file begins
                await loop.sendfile(protocol.transport, file)
                protocol.transport.write(b"between")
                await loop.sendfile(protocol.transport, file, 0, 1000)
                protocol.transport.write(b"after")
            protocol.transport.close()
            expected = data + data + b"between" + data[:1000] + b"after"
            assert (await reading)[:2] == (len(expected), digest(expected))

    run(loop, main())


def test_an_empty_file_and_an_offset_beyond_the_end(
    loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path
) -> None:
    async def main() -> None:
        file = tmp_path / "empty"
        file.write_bytes(b"")
        async with with_peer(Recorder) as (protocol, peer):
            with file.open("rb") as opened:
                assert await loop.sendfile(protocol.transport, opened) == 0
                assert await loop.sendfile(protocol.transport, opened, 100, 100) == 0
            protocol.transport.write(b"goes on")
            assert await peer.recv_exactly(7) == b"goes on"

    run(loop, main())


def test_reading_goes_on_afterwards(
    loop: asyncio.AbstractEventLoop, path: pathlib.Path
) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            await peer.send(b"sent before")
            with path.open("rb") as file:
                reading = asyncio.ensure_future(peer.recv_exactly(SIZE_BYTES))
                await loop.sendfile(protocol.transport, file)
            assert digest(await reading) == digest(pattern(SIZE_BYTES))
            assert protocol.transport.is_reading()
            assert protocol.transport.get_protocol() is protocol
            await peer.send(b", sent after")
            assert await protocol.read(23) == b"sent before, sent after"

    run(loop, main())


@pytest.mark.parametrize("native", [True, False])
def test_two_at_once(loop: asyncio.AbstractEventLoop, path: pathlib.Path, native: bool) -> None:
    """The second is refused: their bytes would mix. The first arrives whole."""
    if not native and not hasattr(loop, "stats"):
        pytest.skip("asyncio mixes them where it falls back")

    async def main() -> None:
        async with connected(Recorder, Recorder) as (client, server):
            server.transport.pause_reading()
            with path.open("rb") as file:
                first: Any = file if native else io.BytesIO(pattern(SIZE_BYTES))
                sending = asyncio.ensure_future(loop.sendfile(client.transport, first))
                await turns()
                assert not sending.done()
                with pytest.raises((RuntimeError, KeyError)):  # asyncio's has no message
                    await loop.sendfile(client.transport, io.BytesIO(b"second"))
                with path.open("rb") as other, pytest.raises((RuntimeError, KeyError)):
                    await loop.sendfile(client.transport, other)
                server.transport.resume_reading()
                assert await sending == SIZE_BYTES
            assert digest(await server.read(SIZE_BYTES)) == digest(pattern(SIZE_BYTES))
            server.transport.write(b"answer")
            assert await client.read(6) == b"answer"

    run(loop, main())


def test_what_is_not_a_file_falls_back(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(2 * MIB)
        async with with_peer(Recorder) as (protocol, peer):
            reading = asyncio.ensure_future(peer.digest_to_eof())
            memory = io.BytesIO(data)
            assert await loop.sendfile(protocol.transport, memory, 10, MIB) == MIB
            assert memory.tell() == 10 + MIB
            protocol.transport.close()
            assert (await reading)[:2] == (MIB, digest(data[10 : 10 + MIB]))

    run(loop, main())


def test_a_device_needs_no_fallback(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            with open("/dev/zero", "rb") as zeros:
                sending = loop.sendfile(protocol.transport, zeros, 0, 1000, fallback=False)
                assert await sending == 1000
            assert await peer.recv_exactly(1000) == bytes(1000)

    run(loop, main())


def test_a_pipe_without_fallback(loop: asyncio.AbstractEventLoop) -> None:
    if ASYNCIO_LEAVES_OFFSET and not hasattr(loop, "stats"):
        pytest.skip("asyncio sets the position of the pipe, which fails, before it says so")

    async def main() -> None:
        reading, writing = os.pipe()
        os.close(writing)
        async with with_peer(Recorder) as (protocol, _):
            with open(reading, "rb") as pipe, pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sendfile(protocol.transport, pipe, 0, 1000, fallback=False)

    run(loop, main())


def test_the_position_when_nothing_is_sent(
    loop: asyncio.AbstractEventLoop, path: pathlib.Path
) -> None:
    """It is at the offset, as if the file had been read up to there."""
    if not ASYNCIO_LEAVES_OFFSET and not hasattr(loop, "stats"):
        pytest.skip("this release of asyncio moves it only when something is sent")

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, _):
            with path.open("rb") as file:
                file.seek(7)
                assert await loop.sendfile(protocol.transport, file, SIZE_BYTES) == 0
                assert file.tell() == SIZE_BYTES

    run(loop, main())


def test_over_tls(loop: asyncio.AbstractEventLoop, path: pathlib.Path) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder, **certs.both_ends()) as (client, server):
            with path.open("rb") as file:
                with pytest.raises(RuntimeError, match="fallback is disabled"):
                    await loop.sendfile(client.transport, file, fallback=False)
                assert await loop.sendfile(client.transport, file) == SIZE_BYTES
            client.transport.write(b"after")
            assert digest(await server.read(SIZE_BYTES)) == digest(pattern(SIZE_BYTES))
            assert await server.read(5) == b"after"

    run(loop, main())


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"offset": -1}, ValueError),
        ({"offset": 1.5}, TypeError),
        ({"count": 0}, ValueError),
        ({"count": -1}, ValueError),
        ({"count": 1.5}, TypeError),
    ],
)
def test_arguments_that_make_no_sense(
    loop: asyncio.AbstractEventLoop,
    path: pathlib.Path,
    arguments: dict[str, Any],
    kind: type[Exception],
) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            with path.open("rb") as file:
                with pytest.raises(kind):
                    await loop.sendfile(protocol.transport, file, **arguments)
            protocol.transport.write(b"unharmed")
            assert await peer.recv_exactly(8) == b"unharmed"

    run(loop, main())


def test_a_text_file(loop: asyncio.AbstractEventLoop, path: pathlib.Path) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, _peer):
            with path.open(encoding="latin-1") as file:
                with pytest.raises(ValueError, match="binary"):
                    await loop.sendfile(protocol.transport, file)  # type: ignore[arg-type]

    run(loop, main())


def test_a_closing_transport(loop: asyncio.AbstractEventLoop, path: pathlib.Path) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, _peer):
            protocol.transport.close()
            with path.open("rb") as file:
                with pytest.raises(RuntimeError, match="closing"):
                    await loop.sendfile(protocol.transport, file)
            await protocol.lost

    run(loop, main())


def test_a_peer_that_resets_meanwhile(
    loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path
) -> None:
    async def main() -> None:
        file = tmp_path / "large"
        with file.open("wb") as opened:
            os.truncate(opened.fileno(), 64 * MIB)
        async with with_peer(Recorder) as (protocol, peer):
            with file.open("rb") as opened:
                sending = asyncio.ensure_future(loop.sendfile(protocol.transport, opened))
                await peer.recv_exactly(1000)
                peer.reset()
                with pytest.raises(ConnectionError):
                    await sending
            protocol.transport.abort()
            await protocol.lost

    run(loop, main())


def test_cancelled_meanwhile(loop: asyncio.AbstractEventLoop, path: pathlib.Path) -> None:
    """The connection lives on: what the peer got is a beginning of the file."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            with path.open("rb") as file:
                sending = asyncio.ensure_future(loop.sendfile(protocol.transport, file))
                await turns(20)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
            assert protocol.transport.is_reading()
            assert protocol.transport.get_protocol() is protocol
            protocol.transport.close()
            got = await peer.recv_to_eof()
            assert got == pattern(SIZE_BYTES)[: len(got)]

    run(loop, main())


async def sock_send(file: BinaryIO, *arguments: Any, **options: Any) -> tuple[int, bytes]:
    """sock_sendfile into a fresh connection: (its result, what the peer got)."""
    loop = asyncio.get_running_loop()
    ours, theirs = tcp_pair()
    with ours, theirs:
        ours.setblocking(False)
        reading = asyncio.ensure_future(Peer(theirs).recv_to_eof())
        try:
            sent = await loop.sock_sendfile(ours, file, *arguments, **options)
        finally:
            ours.shutdown(socket.SHUT_WR)
            got = await reading
        return sent, got


def test_sock_sendfile(loop: asyncio.AbstractEventLoop, path: pathlib.Path) -> None:
    async def main() -> None:
        data = pattern(SIZE_BYTES)
        with path.open("rb") as file:
            for offset, count in ((0, None), (5, 1000), (SIZE_BYTES - 5, 100), (3, 2 * MIB)):
                expected = data[offset:][:count]
                sent, got = await sock_send(file, offset, count)
                assert sent == len(expected)
                assert digest(got) == digest(expected)
                assert file.tell() == offset + len(expected)
        sent, got = await sock_send(io.BytesIO(data))
        assert (sent, digest(got)) == (SIZE_BYTES, digest(data))
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await sock_send(io.BytesIO(data), fallback=False)

    run(loop, main())


def test_sock_sendfile_arguments(loop: asyncio.AbstractEventLoop, path: pathlib.Path) -> None:
    async def main() -> None:
        with path.open("rb") as file:
            wrong = (((-1,), ValueError), ((0, -1), ValueError), ((0, 1.5), TypeError))
            for arguments, kind in wrong:
                with pytest.raises(kind):
                    await sock_send(file, *arguments)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
                datagram.setblocking(False)
                with pytest.raises(ValueError, match="SOCK_STREAM"):
                    await loop.sock_sendfile(datagram, file)

    run(loop, main())
