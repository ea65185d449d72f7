"""Bulk whose arrival one poll goes on telling of: nothing that came before is overlooked.

Owns: a connection that is used to bulk, and what could leave data behind unnoticed: buffers that
are filled, urgent bytes, descriptors, pauses, interruptions, the end, a loop that stops.
Thread: the test's own; the peer blocks in worker threads.
Runs on asyncio and on loopx.
"""

import array
import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.bulk import BULK_BYTES, SETTLED, never_anew, settle  # noqa: F401
from tests.support.interruptions import Interruption, run_through
from tests.support.net import Peer, only_on, run, turns, with_peer
from tests.support.recorders import (
    BufferedRecorder,
    HalfOpenRecorder,
    Recorder,
    RecordingProtocol,
)

PROMPT_SECONDS = 2


class RoomyRecorder(BufferedRecorder):
    """Its buffer is not filled by a usual message."""

    space_bytes = 300_000


FACTORIES = [Recorder, BufferedRecorder, RoomyRecorder]
each_protocol = pytest.mark.parametrize("factory", FACTORIES)


async def exchange(protocol: RecordingProtocol, peer: Peer, length: int) -> None:
    """The peer sends, the protocol gets it, while nothing else comes."""
    data = random.Random(length).randbytes(length)
    await peer.send(data)
    async with asyncio.timeout(PROMPT_SECONDS):
        assert await protocol.read(length) == data


@contextlib.asynccontextmanager
async def used_to_bulk(
    factory: type[RecordingProtocol], family: str = "tcp"
) -> AsyncIterator[tuple[RecordingProtocol, Peer]]:
    async with with_peer(factory, family) as (protocol, peer):
        await settle(protocol, peer)
        yield protocol, peer


@only_on("loopx")
@pytest.mark.parametrize(("family", "may_go_on"), [("tcp", True), ("unix", False)])
def test_one_poll_tells_of_many_messages(
    loop: asyncio.AbstractEventLoop, family: str, may_go_on: bool
) -> None:
    async def main() -> None:
        async with used_to_bulk(RoomyRecorder, family) as (protocol, peer):
            before = loop.stats()["submissions"]
            for _ in range(5):
                await settle(protocol, peer)
            submissions = loop.stats()["submissions"] - before
            assert (submissions < 100) == may_go_on, submissions

    run(loop, main())


@pytest.mark.usefixtures("never_anew")
@each_protocol
@pytest.mark.parametrize(
    "lengths",
    [
        [65_536], [65_535, 65_537], [131_072, 262_144], [16_384], [16_384, 32_768, 9],
        [300_000, 20_000], [700_000], [20_000] * SETTLED + [65_536],
        [20_000] * SETTLED + [50] * 20,
    ],
    ids=lambda lengths: f"{len(lengths)}-of-{lengths[0]}",
)
def test_filled_buffers_leave_nothing_behind(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol], lengths: list[int]
) -> None:
    async def main() -> None:
        async with used_to_bulk(factory) as (protocol, peer):
            for length in lengths * (1 + 24 // len(lengths)):
                await exchange(protocol, peer, length)

    run(loop, main())


@each_protocol
@pytest.mark.parametrize("behind", [1, 9_000])
def test_what_is_behind_an_urgent_byte_comes(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol], behind: int
) -> None:
    """A receive ends in front of it, and what follows may have come in the same segment."""

    async def main() -> None:
        async with used_to_bulk(factory) as (protocol, peer):
            for _ in range(3):
                peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                peer.sock.sendall(b"a" * 9_000)
                peer.sock.send(b"!", socket.MSG_OOB)
                peer.sock.sendall(b"b" * behind)
                peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
                async with asyncio.timeout(PROMPT_SECONDS):
                    assert await protocol.read(9_000 + behind) == b"a" * 9_000 + b"b" * behind
                await settle(protocol, peer)

    run(loop, main())


@pytest.mark.usefixtures("never_anew")
@each_protocol
def test_what_is_behind_descriptors_comes(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol]
) -> None:
    """A receive from a Unix socket ends with the message that brings descriptors."""

    async def main() -> None:
        async with used_to_bulk(factory, "unix") as (protocol, peer):
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))
            assert peer.sock.sendmsg([b"a" * 9_000], [rights]) == 9_000
            peer.sock.sendall(b"b" * 9_000)
            async with asyncio.timeout(PROMPT_SECONDS):
                assert await protocol.read(18_000) == b"a" * 9_000 + b"b" * 9_000

    run(loop, main())


@pytest.mark.usefixtures("never_anew")
@each_protocol
@pytest.mark.parametrize("turns_paused", [0, 1, 20])
def test_what_comes_while_paused_is_told_of_after_resuming(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol], turns_paused: int
) -> None:
    async def main() -> None:
        async with used_to_bulk(factory) as (protocol, peer):
            for _ in range(5):
                protocol.transport.pause_reading()
                peer.sock.sendall(b"p" * BULK_BYTES)
                await turns(turns_paused)
                assert not protocol.buffer
                protocol.transport.resume_reading()
                async with asyncio.timeout(PROMPT_SECONDS):
                    assert await protocol.read(BULK_BYTES) == b"p" * BULK_BYTES
                await settle(protocol, peer)

    run(loop, main())


@pytest.mark.usefixtures("never_anew")
def test_pauses_within_the_callback_lose_nothing(loop: asyncio.AbstractEventLoop) -> None:
    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            assert self.transport.is_reading()
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.001, self.transport.resume_reading)

    async def main() -> None:
        async with used_to_bulk(Pausing) as (protocol, peer):
            for length in [BULK_BYTES, 65_536, 200_000] * 5:
                await exchange(protocol, peer, length)

    run(loop, main())


@pytest.mark.usefixtures("never_anew")
@each_protocol
@pytest.mark.parametrize("keeps_open", [False, True])
def test_the_end_is_told_once(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol], keeps_open: bool
) -> None:
    class Ending(factory):  # type: ignore[misc, valid-type]
        keep_open = keeps_open

    async def main() -> None:
        async with used_to_bulk(Ending) as (protocol, peer):
            peer.sock.sendall(b"l" * BULK_BYTES)
            peer.half_close()
            await protocol.ended
            assert await protocol.read(BULK_BYTES) == b"l" * BULK_BYTES
            if keeps_open:
                protocol.transport.write(b"still here")
                assert await peer.recv_exactly(10) == b"still here"
                peer.reset()
                await turns()
                protocol.transport.abort()
            await protocol.lost
            assert protocol.calls.count("eof_received") == 1
            assert protocol.calls.count("connection_lost") == 1

    run(loop, main())


@pytest.mark.usefixtures("never_anew")
def test_the_end_while_paused_is_told_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with used_to_bulk(HalfOpenRecorder) as (protocol, peer):
            protocol.transport.pause_reading()
            peer.sock.sendall(b"l" * BULK_BYTES)
            peer.half_close()
            await turns(20)
            protocol.transport.resume_reading()
            await protocol.ended
            assert await protocol.read(BULK_BYTES) == b"l" * BULK_BYTES
            await turns(20)
            assert protocol.calls.count("eof_received") == 1

    run(loop, main())


@pytest.mark.usefixtures("never_anew")
@pytest.mark.parametrize("interrupted", ["get_buffer", "buffer_updated", "data_received"])
def test_an_interruption_leaves_nothing_behind(
    loop: asyncio.AbstractEventLoop, interrupted: str
) -> None:
    factory = Recorder if interrupted == "data_received" else RoomyRecorder

    class Interrupted(factory):  # type: ignore[misc, valid-type]
        armed = False

    def interrupting(self, argument):  # type: ignore[no-untyped-def]
        if interrupted != "get_buffer":        # or it would be lost, as it is on asyncio
            getattr(factory, interrupted)(self, argument)
        if self.armed:
            self.armed = False
            raise Interruption
        return factory.get_buffer(self, argument) if interrupted == "get_buffer" else None

    setattr(Interrupted, interrupted, interrupting)

    async def main() -> None:
        async with used_to_bulk(Interrupted) as (protocol, peer):
            for _ in range(3):
                protocol.armed = True
                await settle(protocol, peer)

    _, times = run_through(loop, main())
    assert times == 3


@pytest.mark.usefixtures("never_anew")
@each_protocol
def test_a_loop_that_stops_meanwhile(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol]
) -> None:
    async def step(protocol: RecordingProtocol, length: int) -> bytes:
        async with asyncio.timeout(PROMPT_SECONDS):
            return await protocol.read(length)

    async def begin() -> tuple[RecordingProtocol, Peer]:
        return await stack.enter_async_context(used_to_bulk(factory))

    stack = contextlib.AsyncExitStack()
    protocol, peer = run(loop, begin())
    for number in range(12):
        peer.sock.sendall(bytes([number]) * BULK_BYTES)
        assert run(loop, step(protocol, BULK_BYTES)) == bytes([number]) * BULK_BYTES
    run(loop, stack.aclose())


@only_on("loopx")
def test_the_end_is_told_once_where_two_polls_tell_of_it(loop: asyncio.AbstractEventLoop) -> None:
    """The first of data alone, and the peer ends the connection while that is handed out."""
    before_that: list[Callable[[], None]] = []

    class Acting(HalfOpenRecorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if before_that:
                before_that.pop(0)()

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            others = [await stack.enter_async_context(with_peer(Recorder)) for _ in range(12)]
            first, first_peer = await stack.enter_async_context(with_peer(Acting))
            protocol, peer = await stack.enter_async_context(used_to_bulk(Acting))
            peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def send_and_collect() -> None:
                peer.sock.sendall(bytes(BULK_BYTES))
                # Over 256 KiB: they leave at once, and completions are collected.
                for other, _ in others:
                    other.transport.write(bytes(30_000))

            before_that.extend([send_and_collect, peer.half_close])
            first_peer.sock.sendall(b"x")
            peer.sock.sendall(bytes(BULK_BYTES))
            await protocol.ended
            await turns(20)
            assert first.received_bytes == 1
            assert await protocol.read(2 * BULK_BYTES) == bytes(2 * BULK_BYTES)
            assert protocol.calls.count("eof_received") == 1

    for _ in range(5):
        run(loop, main())


@only_on("loopx")
def test_a_poll_that_told_of_little_ends_after_a_while(loop: asyncio.AbstractEventLoop) -> None:
    """It would not tell of what an urgent byte hid: one that looks for it takes its place."""

    async def main() -> None:
        others = loop.stats()["timers"]
        async with used_to_bulk(RoomyRecorder) as (_, _):
            before = loop.stats()
            assert before["timers"] == others + 1
            await asyncio.sleep(0.5)
            after = loop.stats()
        assert after["timers"] == others
        assert after["submissions"] - before["submissions"] == 2
        assert after["operations_in_flight"] == before["operations_in_flight"]

    run(loop, main())


@only_on("loopx")
def test_a_connection_has_one_timer_at_most(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        others = loop.stats()["timers"]
        async with used_to_bulk(Recorder) as (protocol, peer):
            for _ in range(20):
                protocol.transport.pause_reading()
                peer.sock.sendall(b"s" * BULK_BYTES)
                await turns(3)
                protocol.transport.resume_reading()
                await protocol.read(BULK_BYTES)
                await settle(protocol, peer)
                assert loop.stats()["timers"] <= others + 1
            protocol.transport.abort()
            await protocol.lost
            await turns()
            assert loop.stats()["timers"] == others

    run(loop, main())
