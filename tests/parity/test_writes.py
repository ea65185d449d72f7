"""What write and writelines accept, and that each byte arrives once and in order.

Owns: types, sizes from nothing to 1 GiB, buffers changed after the write.
Thread: the test's own; the peer reads in a worker thread, at C speed where it is much.
Must not: look at how a write is cut into sends.
"""

import array
import asyncio
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.net import capture_errors, only_on, run, small_send_buffer, turns, with_peer
from tests.support.payload import MIB, digest, pattern
from tests.support.recorders import Recorder

GIB = 1 << 30


def test_nothing_is_sent_for_empty_writes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            for empty in (b"", bytearray(), memoryview(b"")):
                protocol.transport.write(empty)
            protocol.transport.writelines([])
            assert protocol.transport.get_write_buffer_size() == 0
            protocol.transport.write(b"something")
            protocol.transport.write(b"")
            protocol.transport.close()
            assert await peer.recv_to_eof() == b"something"
            assert await protocol.lost is None

    run(loop, main())


@only_on("loopx")
def test_empty_items_in_writelines(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio of 3.12 and 3.13.0 keeps empty items in its buffer and never closes."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.writelines([b"", b""])
            protocol.transport.writelines([b"", b"a", bytearray(), b"b", memoryview(b"")])
            protocol.transport.close()
            assert await peer.recv_to_eof() == b"ab"
            assert await protocol.lost is None

    run(loop, main())


@pytest.mark.parametrize("wrong", ["text", None, 7, [b"list"], object()])
def test_wrong_types_are_refused(loop: asyncio.AbstractEventLoop, wrong: Any) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            with pytest.raises(TypeError):
                protocol.transport.write(wrong)
            protocol.transport.write(b"fine")
            assert await peer.recv_exactly(4) == b"fine"

    run(loop, main())


@pytest.mark.parametrize("wrong", [["text"], [b"bytes", "text"], [None], 7])
def test_wrong_types_in_writelines_are_refused(
    loop: asyncio.AbstractEventLoop, loop_kind: str, wrong: Any
) -> None:
    if loop_kind == "asyncio" and sys.version_info >= (3, 14):
        pytest.skip("asyncio skips what is false, and sends what comes before a wrong one")

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            with pytest.raises(TypeError):
                protocol.transport.writelines(wrong)
            protocol.transport.write(b"fine")
            assert (await peer.recv_exactly(4)) == b"fine"

    run(loop, main())


def test_writelines_of_mixed_types(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            mixed = [b"bytes,", bytearray(b"bytearray,"), memoryview(b"xmemoryviewx")[1:-1]]
            protocol.transport.writelines(mixed)
            protocol.transport.write(b",")
            protocol.transport.writelines(tuple(mixed))
            protocol.transport.close()
            once = b"bytes,bytearray,memoryview"
            assert await peer.recv_to_eof() == once + b"," + once

    run(loop, main())


def test_writelines_of_an_iterator(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            numbers: Iterable[bytes] = (b"%d," % number for number in range(100))
            protocol.transport.writelines(numbers)
            protocol.transport.close()
            assert await peer.recv_to_eof() == b"".join(b"%d," % n for n in range(100))

    run(loop, main())


def test_writelines_of_more_pieces_than_the_kernel_takes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """More than IOV_MAX (1,024) pieces, and more bytes than a socket's buffer."""

    async def main() -> None:
        data = pattern(5 * MIB)
        pieces = [data[start : start + 1001] for start in range(0, len(data), 1001)]
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.writelines(pieces)
            protocol.transport.write(b"end")
            protocol.transport.close()
            total, sha, _ = await peer.digest_to_eof()
            assert (total, sha) == (len(data) + 3, digest(data + b"end"))

    run(loop, main())


def test_many_small_writes_keep_their_order(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            expected = []
            for number in range(20_000):
                expected.append(b"%d;" % number)
                protocol.transport.write(expected[-1])
                if number % 1000 == 0:
                    await asyncio.sleep(0)
                if number % 1500 == 0:
                    expected += [b"<", b">"]
                    protocol.transport.writelines([b"<", b">"])
            protocol.transport.close()
            assert await peer.recv_to_eof() == b"".join(expected)

    run(loop, main())


@pytest.mark.parametrize("size_bytes", [1, 4095, 65_536, 65_537, 1_000_000, 9_999_999])
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_sizes(loop: asyncio.AbstractEventLoop, size_bytes: int, family: str) -> None:
    async def main() -> None:
        data = pattern(size_bytes)
        async with with_peer(Recorder, family) as (protocol, peer):
            protocol.transport.write(data)
            protocol.transport.close()
            total, sha, _ = await peer.digest_to_eof()
            assert (total, sha) == (size_bytes, digest(data))

    run(loop, main())


def available_bytes() -> int:
    """Memory that can be had without swapping."""
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


@pytest.mark.time_limit(120)
def test_one_gibibyte_in_one_write(loop: asyncio.AbstractEventLoop) -> None:
    if available_bytes() < 6 * GIB:
        pytest.skip("needs 6 GiB of memory: the data, and asyncio's copies of it")

    async def main() -> None:
        data = pattern(GIB)
        async with with_peer(Recorder) as (protocol, peer):
            reading = asyncio.ensure_future(peer.digest_to_eof())
            protocol.transport.write(data)
            expected = await asyncio.to_thread(digest, data)
            del data
            protocol.transport.close()
            total, sha, _ = await reading
            assert (total, sha) == (GIB, expected)
            assert await protocol.lost is None

    run(loop, main(), timeout_s=100)


def test_bytes_of_any_item_size(loop: asyncio.AbstractEventLoop) -> None:
    """A view of wider items counts in bytes, not in items."""

    async def main() -> None:
        words = array.array("I", range(100))
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.write(memoryview(words))
            protocol.transport.write(b"end")
            protocol.transport.close()
            assert await peer.recv_to_eof() == words.tobytes() + b"end"

    run(loop, main())


@only_on("loopx")
@pytest.mark.parametrize("count", [1000, 2_000_000])
@pytest.mark.parametrize("shape", ["wide items", "two dimensions", "strided", "reversed"])
def test_every_memoryview_is_sent_whole(
    loop: asyncio.AbstractEventLoop, shape: str, count: int
) -> None:
    """Where asyncio cuts such views wrongly or gives the connection up, loopx sends them."""
    words = array.array("I", range(count))
    flat = memoryview(words).cast("B")
    views = {
        "wide items": memoryview(words),
        "two dimensions": flat.cast("B", shape=[count, 4]),
        "strided": memoryview(words)[::3],
        "reversed": flat[::-1],
    }

    async def main() -> None:
        expected = views[shape].tobytes()
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.write(b"start,")
            protocol.transport.write(views[shape])
            protocol.transport.writelines([views[shape], b",end"])
            protocol.transport.close()
            total, sha, _ = await peer.digest_to_eof()
            assert total == 2 * len(expected) + 10
            assert sha == digest(b"start," + expected + expected + b",end")
            assert await protocol.lost is None

    run(loop, main())


@only_on("asyncio")
def test_asyncio_gives_up_on_strided_views(loop: asyncio.AbstractEventLoop) -> None:
    """loopx sends them: test_every_memoryview_is_sent_whole."""

    async def main() -> None:
        errors = capture_errors(loop)
        async with with_peer(Recorder) as (protocol, _peer):
            protocol.transport.write(memoryview(b"abcdef")[::2])
            assert isinstance(await protocol.lost, BufferError)
        assert [context["message"] for context in errors] == [
            "Fatal write error on socket transport"
        ]

    run(loop, main())


async def check_later_changes(size_bytes: int, wrap: type) -> None:
    data = pattern(size_bytes)
    async with with_peer(Recorder) as (protocol, peer):
        owner = bytearray(data)
        protocol.transport.write(owner if wrap is bytearray else memoryview(owner))
        owner[:] = bytes(size_bytes)
        again = bytearray(data)
        protocol.transport.writelines([again if wrap is bytearray else memoryview(again)])
        again[:] = bytes(size_bytes)
        del owner[:], again[:]  # nobody holds an export that would forbid this
        protocol.transport.close()
        total, sha, _ = await peer.digest_to_eof()
        assert (total, sha) == (2 * size_bytes, digest(data + data))


@pytest.mark.parametrize("wrap", [bytearray, memoryview], ids=["bytearray", "memoryview"])
def test_later_changes_do_not_reach_the_wire(
    loop: asyncio.AbstractEventLoop, wrap: type
) -> None:
    run(loop, check_later_changes(10, wrap))


@only_on("loopx")
@pytest.mark.parametrize("wrap", [bytearray, memoryview], ids=["bytearray", "memoryview"])
@pytest.mark.parametrize("size_bytes", [100_000, 8 * MIB])
def test_later_changes_of_pending_data_do_not_reach_the_wire(
    loop: asyncio.AbstractEventLoop, size_bytes: int, wrap: type
) -> None:
    """asyncio since 3.12 sends from the caller's buffer."""
    run(loop, check_later_changes(size_bytes, wrap))


def test_the_data_may_be_dropped_after_the_write(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        expected = digest(pattern(8 * MIB))
        async with with_peer(Recorder) as (protocol, peer):
            data = pattern(8 * MIB)
            protocol.transport.write(data)
            del data
            garbage = [bytes([number]) * MIB for number in range(20)]  # would reuse the memory
            protocol.transport.close()
            assert (await peer.digest_to_eof())[:2] == (8 * MIB, expected)
            del garbage

    run(loop, main())


def test_partial_sends(loop: asyncio.AbstractEventLoop) -> None:
    """A small socket buffer cuts every write; writes of all kinds stay in order."""

    async def main() -> None:
        data = pattern(400_000)
        async with with_peer(Recorder, "unix") as (protocol, peer):
            small_send_buffer(protocol.transport.get_extra_info("socket"))
            reading = asyncio.ensure_future(peer.digest_to_eof())
            for start in range(0, len(data), 40_000):
                piece = data[start : start + 40_000]
                protocol.transport.write(piece[:10_000])
                protocol.transport.writelines([piece[10_000:20_000], piece[20_000:39_999]])
                protocol.transport.write(piece[39_999:])
                await turns(2)
            protocol.transport.close()
            assert (await reading)[:2] == (len(data), digest(data))

    run(loop, main())


def test_write_from_inside_callbacks(loop: asyncio.AbstractEventLoop) -> None:
    class Talker(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write(b"made,")

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"data,")

        def eof_received(self) -> bool | None:
            self.transport.write(b"eof,")
            return super().eof_received()

        def connection_lost(self, exc: Exception | None) -> None:
            self.transport.write(b"never seen")
            super().connection_lost(exc)

    async def main() -> None:
        async with with_peer(Talker) as (_protocol, peer):
            assert await peer.recv_exactly(5) == b"made,"
            await peer.send(b"x")
            assert await peer.recv_exactly(5) == b"data,"
            peer.half_close()
            assert await peer.recv_to_eof() == b"eof,"

    run(loop, main())
