"""Pipes for the tests: one end a transport on the loop under test, the other a blocking file.

Owns: both ends; what is still open is closed when the block is left.
Thread: the transport's end on the loop's thread; the other may be used in worker threads.
Must not: wait for the other end on the loop's own thread, unless what is waited for is there.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from io import FileIO
from typing import Any, TypeVar, cast

from tests.support.payload import MIB
from tests.support.recorders import Recorder, RecordingProtocol

P = TypeVar("P", bound=RecordingProtocol)


@contextlib.contextmanager
def pipe_files() -> Iterator[tuple[FileIO, FileIO]]:
    """(reading end, writing end)."""
    reader, writer = os.pipe()
    with FileIO(reader, "r") as reading, FileIO(writer, "w") as writing:
        yield reading, writing


async def over(protocol: RecordingProtocol) -> None:
    """Close the transport, unless that was done, and wait for connection_lost.

    asyncio's own calls connection_lost twice when a closing one is aborted.
    """
    transport = protocol.transport
    if not transport.is_closing():
        getattr(transport, "abort", transport.close)()
    await protocol.lost


@contextlib.asynccontextmanager
async def read_pipe(
    factory: Callable[[], P] = cast(Any, Recorder),
) -> AsyncIterator[tuple[P, FileIO]]:
    """A read pipe's protocol, and the end that is written to."""
    with pipe_files() as (reader, writer):
        loop = asyncio.get_running_loop()
        _, protocol = await loop.connect_read_pipe(cast(Any, factory), reader)
        try:
            yield protocol, writer
        finally:
            await over(protocol)


@contextlib.asynccontextmanager
async def write_pipe(
    factory: Callable[[], P] = cast(Any, Recorder),
) -> AsyncIterator[tuple[P, FileIO]]:
    """A write pipe's protocol, and the end that is read from."""
    with pipe_files() as (reader, writer):
        loop = asyncio.get_running_loop()
        _, protocol = await loop.connect_write_pipe(cast(Any, factory), writer)
        try:
            yield protocol, reader
        finally:
            reader.close()
            await over(protocol)


def write_all(file: FileIO, data: bytes) -> None:
    """Blocking; then the end of the file."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    file.close()


def fill(descriptor: int) -> int:
    """Write to a non-blocking descriptor until it takes no more; returns the bytes it took."""
    total_bytes = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total_bytes += os.write(descriptor, b"f" * 65536)
    return total_bytes


def digest_to_eof(file: FileIO) -> tuple[int, str]:
    """Read to the end, blocking: (bytes, SHA-256)."""
    total_bytes, sha = 0, hashlib.sha256()
    while data := file.read(MIB):
        total_bytes += len(data)
        sha.update(data)
    return total_bytes, sha.hexdigest()


def read_exactly(file: FileIO, size_bytes: int) -> bytes:
    """Blocking; EOFError if the file ends before."""
    data = bytearray()
    while len(data) < size_bytes:
        piece = file.read(size_bytes - len(data))
        if not piece:
            raise EOFError(f"{len(data)} of {size_bytes} bytes")
        data += piece
    return bytes(data)
