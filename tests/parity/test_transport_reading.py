"""pause_reading and resume_reading: nothing while paused, nothing lost, the peer held back.

Owns: the reading side's flow control on data_received (BufferedProtocol has its own file).
Thread: the test's own; the peer blocks in worker threads.
Must not: count reads; only bytes are promised.
"""

import asyncio

import pytest

from tests.support.net import connected, run, turns, with_peer
from tests.support.payload import MIB, digest, pattern
from tests.support.recorders import BufferedRecorder, Recorder, RecordingProtocol


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
def test_nothing_is_delivered_while_paused(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol]
) -> None:
    async def main() -> None:
        async with with_peer(factory) as (protocol, peer):
            protocol.transport.pause_reading()
            assert not protocol.transport.is_reading()
            await peer.send(b"wait")
            await turns(20)
            assert protocol.received_bytes == 0
            protocol.transport.resume_reading()
            assert protocol.transport.is_reading()
            assert await protocol.read(4) == b"wait"

    run(loop, main())


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
def test_pause_after_traffic_holds_back_what_has_arrived(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol]
) -> None:
    """A receive may be in flight when the pause comes: its data waits for the resume."""

    async def main() -> None:
        async with with_peer(factory) as (protocol, peer):
            for round_number in range(50):
                await peer.send(b"ping")
                assert await protocol.read(4) == b"ping"
                protocol.transport.pause_reading()
                await peer.send(b"%04d" % round_number)
                await turns(3)
                assert not protocol.buffer
                protocol.transport.resume_reading()
                assert await protocol.read(4) == b"%04d" % round_number

    run(loop, main())


def test_pause_inside_data_received(loop: asyncio.AbstractEventLoop) -> None:
    class OneAtATime(Recorder):
        def data_received(self, data: bytes) -> None:
            assert self.transport.is_reading()
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        data = pattern(2 * MIB)
        async with with_peer(OneAtATime) as (protocol, peer):
            sending = asyncio.ensure_future(peer.send(data))
            seen = 0
            while seen < len(data):
                await protocol.received(seen + 1)
                seen = protocol.received_bytes
                await turns(3)
                assert protocol.received_bytes == seen
                protocol.transport.resume_reading()
            await sending
            assert digest(protocol.buffer) == digest(data)

    run(loop, main())


def test_a_paused_transport_holds_the_peer_back(loop: asyncio.AbstractEventLoop) -> None:
    """Memory is bounded: only the kernel's buffers fill while nobody reads."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            await peer.send(b"x")
            await protocol.read(1)
            protocol.transport.pause_reading()
            sent_bytes = peer.fill()
            while True:  # until the kernel at both ends has taken all it can
                await turns(20)
                more_bytes = peer.fill()
                if not more_bytes:
                    break
                sent_bytes += more_bytes
            assert protocol.received_bytes == 1
            protocol.transport.resume_reading()
            await protocol.received(1 + sent_bytes)
            assert bytes(protocol.buffer) == b"f" * sent_bytes

    run(loop, main())


def test_pause_in_connection_made(loop: asyncio.AbstractEventLoop) -> None:
    class Late(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    async def main() -> None:
        async with connected(Recorder, Late) as (client, server):
            client.transport.write(b"early")
            await turns(20)
            assert not server.transport.is_reading()
            assert server.received_bytes == 0
            server.transport.resume_reading()
            assert await server.read(5) == b"early"

    run(loop, main())


def test_pause_and_resume_are_idempotent(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            transport = protocol.transport
            transport.resume_reading()
            assert transport.is_reading()
            transport.pause_reading()
            transport.pause_reading()
            transport.resume_reading()
            assert transport.is_reading()
            transport.resume_reading()
            for _ in range(100):
                transport.pause_reading()
                transport.resume_reading()
            await peer.send(b"once")
            peer.half_close()
            await protocol.lost
            assert bytes(protocol.buffer) == b"once"

    run(loop, main())


def test_pausing_after_close_is_quiet(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, _peer):
            protocol.transport.close()
            protocol.transport.pause_reading()
            protocol.transport.resume_reading()
            assert not protocol.transport.is_reading()
            assert await protocol.lost is None
            protocol.transport.pause_reading()
            protocol.transport.resume_reading()
            assert not protocol.transport.is_reading()

    run(loop, main())


def test_end_of_stream_waits_for_the_resume(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.pause_reading()
            await peer.send(b"data, then the end")
            peer.half_close()
            await turns(20)
            assert protocol.calls == ["connection_made"]
            protocol.transport.resume_reading()
            assert await protocol.lost is None
            assert bytes(protocol.buffer) == b"data, then the end"

    run(loop, main())


def test_pause_between_data_and_its_end(loop: asyncio.AbstractEventLoop) -> None:
    class PausesItself(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        async with with_peer(PausesItself) as (protocol, peer):
            await peer.send(b"x")
            await protocol.read(1)
            peer.half_close()
            await turns(20)
            assert protocol.calls == ["connection_made", "data_received"]
            protocol.transport.resume_reading()
            assert await protocol.lost is None

    run(loop, main())


def test_writing_goes_on_while_reading_is_paused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(4 * MIB)
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.pause_reading()
            protocol.transport.write(data)
            assert await peer.recv_exactly(len(data)) == data
            protocol.transport.close()
            assert await protocol.lost is None

    run(loop, main())


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
def test_big_transfer_with_many_pauses(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol]
) -> None:
    async def main() -> None:
        data = pattern(8 * MIB)
        async with with_peer(factory) as (protocol, peer):
            sending = asyncio.ensure_future(peer.send(data))
            reached = 0
            while reached < len(data):
                reached = min(reached + 300_000, len(data))
                await protocol.received(reached)
                protocol.transport.pause_reading()
                await asyncio.sleep(0)
                protocol.transport.resume_reading()
            await sending
            peer.half_close()
            await protocol.lost
            assert digest(protocol.buffer) == digest(data)

    run(loop, main())
