"""Files that change, shrink or fail while they are sent, and many that are sent at once.

Owns: the three ways (in the kernel, by reading and writing, over TLS) with each of these, and
offsets and counts over TLS.
Thread: the test's own; the peer reads in a worker thread.
Must not: promise how much of a file that shrinks arrives, only that it is a beginning of it.
"""

import asyncio
import contextlib
import io
import os
import pathlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, BinaryIO, cast

import pytest

from tests.support import certs
from tests.support.interruptions import INTERRUPTIONS, Misdeed
from tests.support.net import connected, only_on, run, with_peer
from tests.support.payload import MIB, digest, pattern
from tests.support.recorders import Recorder

SIZE_BYTES = 6 * MIB
LEFT_BYTES = MIB + 17
BUFFER_BYTES = 256 * 1024


class Unseen(io.FileIO):
    """A regular file that looks like none: it has to be read and written."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation


@contextlib.asynccontextmanager
async def sender(way: str) -> AsyncIterator[tuple[Recorder, Recorder]]:
    """A sending protocol and a receiving one that does not read yet."""
    options = certs.both_ends() if way == "tls" else {}
    async with connected(Recorder, Recorder, **options) as (client, server):
        # Together less than a file, or it would be gone before its receiver reads.
        for option, protocol in ((socket.SO_SNDBUF, client), (socket.SO_RCVBUF, server)):
            sock = protocol.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        yield client, server


def opened(path: pathlib.Path, way: str) -> io.FileIO:
    return Unseen(path) if way == "fallback" else io.FileIO(path)


every_way = pytest.mark.parametrize("way", ["kernel", "fallback", "tls"])


@pytest.fixture(autouse=True)
def sound_loop(request: pytest.FixtureRequest, loop_kind: str) -> None:
    """asyncio's fallback reads into a buffer that its transport has not sent yet (3.12 on)."""
    way = request.node.callspec.params.get("way")
    if way == "fallback" and loop_kind == "asyncio":
        pytest.skip("asyncio's fallback overwrites what is unsent")


@every_way
@pytest.mark.parametrize("count", [None, SIZE_BYTES])
def test_a_file_that_shrinks(
    loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path, way: str, count: int | None
) -> None:
    """The call ends early; what it returns is what has arrived, and the connection lives on."""
    path = tmp_path / "data"
    path.write_bytes(pattern(SIZE_BYTES))

    async def main() -> None:
        async with sender(way) as (client, server):
            server.transport.pause_reading()
            with opened(path, way) as file:
                sending = asyncio.ensure_future(
                    loop.sendfile(client.transport, cast(Any, file), 0, count)
                )
                await asyncio.wait([sending], timeout=0.05)
                assert not sending.done()  # the receiver's buffers are full
                os.truncate(path, LEFT_BYTES)
                server.transport.resume_reading()
                sent = await sending
                assert file.tell() == sent
            assert sent < SIZE_BYTES
            client.transport.write(b"after")
            # Pages that were on their way when the file lost them are sent as zeros by Linux.
            same_bytes = LEFT_BYTES if way == "kernel" else sent
            assert (await server.read(sent))[:same_bytes] == pattern(SIZE_BYTES)[:same_bytes]
            assert await server.read(5) == b"after"

    run(loop, main())


@every_way
def test_a_file_that_grows(
    loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path, way: str
) -> None:
    """Without a count it is sent to its end, wherever that is by then."""
    path = tmp_path / "data"
    path.write_bytes(pattern(SIZE_BYTES))

    async def main() -> None:
        async with sender(way) as (client, server):
            server.transport.pause_reading()
            with opened(path, way) as file:
                sending = asyncio.ensure_future(loop.sendfile(client.transport, cast(Any, file)))
                await asyncio.wait([sending], timeout=0.05)
                with path.open("ab") as more:
                    more.write(b"more")
                server.transport.resume_reading()
                assert await sending == SIZE_BYTES + 4
            data = await server.read(SIZE_BYTES + 4)
            assert digest(data) == digest(pattern(SIZE_BYTES) + b"more")

    run(loop, main())


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, None), (1000, None), (0, 1), (7, 3 * MIB), (SIZE_BYTES - 5, 100), (SIZE_BYTES + 1, None)],
)
@pytest.mark.parametrize("way", ["fallback", "tls"])
def test_offsets_and_counts(
    loop: asyncio.AbstractEventLoop,
    tmp_path: pathlib.Path,
    way: str,
    offset: int,
    count: int | None,
) -> None:
    path = tmp_path / "data"
    path.write_bytes(pattern(SIZE_BYTES))
    expected = pattern(SIZE_BYTES)[offset:][:count]

    async def main() -> None:
        async with sender(way) as (client, server):
            with opened(path, way) as file:
                sent = await loop.sendfile(client.transport, cast(Any, file), offset, count)
                assert sent == len(expected)
                assert file.tell() == offset + sent
            client.transport.write(b"after")
            assert digest(await server.read(sent)) == digest(expected)
            assert await server.read(5) == b"after"

    run(loop, main())


class Failing(io.BytesIO):
    """Fails at its second read."""

    def __init__(self, content: bytes, error: type[BaseException]) -> None:
        super().__init__(content)
        self.reads, self.error = 0, error

    def count(self) -> None:
        self.reads += 1
        if self.reads == 2:
            raise self.error

    def read(self, size: int | None = -1, /) -> bytes:
        self.count()
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        self.count()
        return super().readinto(buffer)


@pytest.mark.parametrize("error", [Misdeed, *INTERRUPTIONS])
def test_a_file_that_cannot_be_read_to_the_end(
    loop: asyncio.AbstractEventLoop, error: type[BaseException]
) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            reading = asyncio.ensure_future(peer.recv_to_eof())
            with pytest.raises(error):
                await loop.sendfile(protocol.transport, Failing(pattern(SIZE_BYTES), error))
            assert protocol.transport.get_protocol() is protocol
            protocol.transport.write(b"after")
            protocol.transport.close()
            got = await reading
            assert got == pattern(SIZE_BYTES)[: len(got) - 5] + b"after"

    run(loop, main())


class Closing(io.BytesIO):
    """A file that is closed while it is read."""

    def read(self, size: int | None = -1, /) -> bytes:
        self.close()
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        self.close()
        return super().readinto(buffer)


def test_a_file_that_is_closed_meanwhile(loop: asyncio.AbstractEventLoop) -> None:
    """The connection is its protocol's again."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            with pytest.raises(ValueError, match="closed file"):
                await loop.sendfile(protocol.transport, Closing(pattern(SIZE_BYTES)))
            assert protocol.transport.get_protocol() is protocol
            protocol.transport.write(b"after")
            protocol.transport.close()
            assert await peer.recv_to_eof() == b"after"

    run(loop, main())


class Stuck(io.BytesIO):
    """A file that is read, and then cannot be told where to stand."""

    def seek(self, position: int, whence: int = 0, /) -> int:
        if self.tell():
            raise Misdeed
        return super().seek(position, whence)


@only_on("loopx")
def test_a_file_whose_position_cannot_be_left(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio's connection stays without its protocol then."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            with pytest.raises(Misdeed):
                await loop.sendfile(protocol.transport, Stuck(b"all of it"))
            assert protocol.transport.get_protocol() is protocol
            protocol.transport.close()
            assert await peer.recv_to_eof() == b"all of it"

    run(loop, main())


@contextlib.contextmanager
def pipe_holding(data: bytes) -> Iterator[BinaryIO]:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with open(reading, "rb") as file:
        yield file


@only_on("loopx")
def test_a_file_without_positions_has_no_offset(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio takes a pipe for an empty file."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, _):
            with pipe_holding(b"whatever") as file, pytest.raises(io.UnsupportedOperation):
                await loop.sendfile(protocol.transport, file, 3)
            assert protocol.transport.get_protocol() is protocol

    run(loop, main())


@only_on("loopx")
def test_a_file_without_positions_is_sent_from_where_it_stands(
    loop: asyncio.AbstractEventLoop
) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            with pipe_holding(b"from the pipe") as file:
                assert await loop.sendfile(protocol.transport, file) == 13
            protocol.transport.close()
            assert await peer.recv_to_eof() == b"from the pipe"
        ours, theirs = socket.socketpair()
        with ours, theirs, pipe_holding(b"and by a socket") as file:
            ours.setblocking(False)
            assert await loop.sock_sendfile(ours, file) == 15
            assert theirs.recv(100) == b"and by a socket"

    run(loop, main())


def test_many_at_once_need_no_threads(
    loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path
) -> None:
    """Neither Python's nor the kernel's: receivers that do not read hold nothing but a buffer."""
    path = tmp_path / "data"
    path.write_bytes(pattern(SIZE_BYTES))

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            pairs = [await stack.enter_async_context(sender("kernel")) for _ in range(100)]
            threads = len(os.listdir("/proc/self/task"))
            files = [stack.enter_context(path.open("rb")) for _ in pairs]
            for _, server in pairs:
                server.transport.pause_reading()
            sending = [
                asyncio.ensure_future(loop.sendfile(client.transport, file))
                for (client, _), file in zip(pairs, files, strict=True)
            ]
            await asyncio.wait(sending, timeout=0.2)
            assert not any(each.done() for each in sending)
            assert len(os.listdir("/proc/self/task")) == threads
            for each in sending:
                each.cancel()
            await asyncio.wait(sending)

    run(loop, main())
