"""Writing's flow control: water marks, pause_writing, resume_writing, and what drain() waits for.

Owns: limits, their defaults and checks, and the order of the calls.
Thread: the test's own; the peer holds back or reads in worker threads.
Must not: assume how much the kernel takes before the transport's own buffer grows.
"""

import asyncio
import contextlib
from typing import Any

import pytest

from tests.support.net import capture_errors, connected, run, turns, with_peer
from tests.support.payload import MIB, digest, pattern
from tests.support.recorders import BufferedRecorder, Recorder, RecordingProtocol

BIG = b"b" * (16 * MIB)  # more than the kernel's buffers at both ends


def flow_calls(protocol: RecordingProtocol) -> list[str]:
    """The calls of flow control, in order."""
    return [name for name in protocol.calls if name.endswith("_writing")]


def test_default_limits(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder) as (client, server):
            for transport in (client.transport, server.transport):
                assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)

    run(loop, main())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (16 * 1024, 64 * 1024)),
        ({"high": 1000}, (250, 1000)),
        ({"low": 1000}, (1000, 4000)),
        ({"high": 0}, (0, 0)),
        ({"high": 10, "low": 10}, (10, 10)),
        ({"high": 1 << 40, "low": 0}, (0, 1 << 40)),
    ],
)
def test_setting_limits(
    loop: asyncio.AbstractEventLoop, arguments: dict[str, Any], expected: tuple[int, int]
) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, _peer):
            protocol.transport.set_write_buffer_limits(high=77, low=7)
            protocol.transport.set_write_buffer_limits(**arguments)
            assert protocol.transport.get_write_buffer_limits() == expected

    run(loop, main())


def test_limits_that_are_no_integers(loop: asyncio.AbstractEventLoop) -> None:
    """They are compared with, so that a fraction is as good, and so is a limit never reached."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            transport = protocol.transport
            for high in (float("inf"), 1 << 100):
                transport.set_write_buffer_limits(high=high, low=0.5)
                transport.write(BIG)
                assert flow_calls(protocol) == []
            transport.set_write_buffer_limits(high=1e6)
            assert transport.get_write_buffer_limits() == (250_000, 1_000_000)
            assert flow_calls(protocol) == ["pause_writing"]
            await peer.recv_exactly(2 * len(BIG))
            await protocol.writable.wait()
            with pytest.raises(ValueError):
                transport.set_write_buffer_limits(high=float("nan"))

    run(loop, main())


@pytest.mark.parametrize(
    "arguments", [{"high": 1, "low": 2}, {"high": -1}, {"low": -1}, {"high": 5, "low": -5}]
)
def test_impossible_limits(loop: asyncio.AbstractEventLoop, arguments: dict[str, int]) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, _peer):
            before = protocol.transport.get_write_buffer_limits()
            with pytest.raises(ValueError):
                protocol.transport.set_write_buffer_limits(**arguments)
            assert protocol.transport.get_write_buffer_limits() == before

    run(loop, main())


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_pause_comes_inside_write_and_resume_after_draining(
    loop: asyncio.AbstractEventLoop, family: str, factory: type[RecordingProtocol]
) -> None:
    async def main() -> None:
        async with with_peer(factory, family) as (protocol, peer):
            transport = protocol.transport
            _low, high = transport.get_write_buffer_limits()
            transport.write(BIG)
            assert flow_calls(protocol) == ["pause_writing"]  # before write() returned
            assert high < transport.get_write_buffer_size() <= len(BIG)
            transport.write(BIG)
            transport.writelines([BIG, BIG])
            await turns()
            assert flow_calls(protocol) == ["pause_writing"]
            assert len(await peer.recv_exactly(4 * len(BIG))) == 4 * len(BIG)
            await protocol.writable.wait()
            assert flow_calls(protocol) == ["pause_writing", "resume_writing"]
            await turns()
            assert transport.get_write_buffer_size() == 0

    run(loop, main())


def test_size_of_the_buffer_at_each_call(loop: asyncio.AbstractEventLoop) -> None:
    class Surveyor(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[tuple[str, int]] = []

        def pause_writing(self) -> None:
            self.sizes.append(("pause", self.transport.get_write_buffer_size()))
            super().pause_writing()

        def resume_writing(self) -> None:
            self.sizes.append(("resume", self.transport.get_write_buffer_size()))
            super().resume_writing()

    async def main() -> None:
        async with with_peer(Surveyor) as (protocol, peer):
            protocol.transport.set_write_buffer_limits(high=100_000, low=30_000)
            while protocol.writable.is_set():
                protocol.transport.write(b"x" * 50_000)
            reading = asyncio.ensure_future(peer.digest_to_eof())
            await protocol.writable.wait()
            protocol.transport.write_eof()
            await reading
            assert [name for name, _ in protocol.sizes] == ["pause", "resume"]
            (_, at_pause), (_, at_resume) = protocol.sizes
            assert at_pause > 100_000
            assert at_resume <= 30_000

    run(loop, main())


def test_calls_alternate_over_many_rounds(loop: asyncio.AbstractEventLoop) -> None:
    """A protocol that writes whenever it may: no two pauses in a row, nothing lost."""

    async def main() -> None:
        piece, rounds = pattern(1 * MIB), 30
        async with with_peer(Recorder) as (protocol, peer):
            reading = asyncio.ensure_future(peer.digest_to_eof())
            for _ in range(rounds):
                protocol.transport.write(piece)
                await protocol.writable.wait()
            protocol.transport.close()
            total, sha, _ = await reading
            assert (total, sha) == (rounds * len(piece), digest(piece * rounds))
            assert await protocol.lost is None
            calls = flow_calls(protocol)
            assert calls[::2] == ["pause_writing"] * len(calls[::2])
            assert calls[1::2] == ["resume_writing"] * len(calls[1::2])
            assert len(calls) >= 2

    run(loop, main())


def test_writing_inside_resume_writing(loop: asyncio.AbstractEventLoop) -> None:
    class Pump(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.left = 4
            self.finished = asyncio.Event()

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.left:
                self.left -= 1
                self.transport.write(BIG)
            else:
                self.finished.set()

    async def main() -> None:
        async with with_peer(Pump) as (protocol, peer):
            reading = asyncio.ensure_future(peer.digest_to_eof())
            protocol.transport.write(BIG)
            await protocol.finished.wait()
            protocol.transport.close()
            assert (await reading)[0] == 5 * len(BIG)
            assert await protocol.lost is None
            assert flow_calls(protocol) == ["pause_writing", "resume_writing"] * 5

    run(loop, main())


def test_high_of_zero_pauses_on_every_pending_byte(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            transport = protocol.transport
            transport.set_write_buffer_limits(high=1 << 30)
            while not transport.get_write_buffer_size():
                transport.write(BIG)
            await turns()
            assert flow_calls(protocol) == []
            transport.set_write_buffer_limits(high=0)  # takes effect at once
            assert flow_calls(protocol) == ["pause_writing"]
            reading = asyncio.ensure_future(peer.digest_to_eof())
            await protocol.writable.wait()
            assert transport.get_write_buffer_size() == 0
            transport.close()
            await reading

    run(loop, main())


def test_resume_after_writes_that_drained_the_buffer_themselves(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Each write may try the socket: what it sends counts for the water marks, too."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            written = taken = 0
            protocol.transport.set_write_buffer_limits(high=0)
            while protocol.writable.is_set():
                protocol.transport.write(BIG[:100_000])
                written += 100_000
            peer.sock.settimeout(0)
            for _ in range(200):  # in one turn: the loop itself has no chance to send
                with contextlib.suppress(BlockingIOError):
                    taken += len(peer.sock.recv(MIB))
                protocol.transport.write(b"x")
                written += 1
            peer.sock.settimeout(10)
            reading = asyncio.ensure_future(peer.recv_exactly(written - taken))
            await protocol.writable.wait()
            await reading
            assert flow_calls(protocol) == ["pause_writing", "resume_writing"]

    run(loop, main())


@pytest.mark.parametrize("size_bytes", [10, 10_000, 60_000])
def test_lowering_the_limit_at_every_moment_of_a_write(
    loop: asyncio.AbstractEventLoop, size_bytes: int
) -> None:
    """If that pauses the protocol, the end of the write resumes it."""

    async def main() -> None:
        for moment in range(6):
            async with with_peer(Recorder) as (protocol, peer):
                protocol.transport.write(b"x" * size_bytes)
                await turns(moment)
                protocol.transport.set_write_buffer_limits(high=0)
                protocol.transport.write(b"y")
                await protocol.writable.wait()
                assert len(await peer.recv_exactly(size_bytes + 1)) == size_bytes + 1
                await turns()
                assert protocol.writable.is_set()

    run(loop, main())


def test_close_while_paused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.write(BIG)
            assert protocol.paused.is_set()
            protocol.transport.close()
            assert (await peer.digest_to_eof())[0] == len(BIG)
            assert await protocol.lost is None
            assert flow_calls(protocol)[0] == "pause_writing"
            assert len(flow_calls(protocol)) <= 2

    run(loop, main())


@pytest.mark.parametrize("name", ["pause_writing", "resume_writing"])
def test_a_raising_callback_is_reported_and_the_data_arrives(
    loop: asyncio.AbstractEventLoop, name: str
) -> None:
    class Faulty(Recorder):
        def pause_writing(self) -> None:
            super().pause_writing()
            if name == "pause_writing":
                raise ZeroDivisionError

        def resume_writing(self) -> None:
            super().resume_writing()
            if name == "resume_writing":
                raise ZeroDivisionError

    async def main() -> None:
        errors = capture_errors(loop)
        async with with_peer(Faulty) as (protocol, peer):
            protocol.transport.write(BIG)
            assert len(await peer.recv_exactly(len(BIG))) == len(BIG)
            await protocol.writable.wait()
            protocol.transport.write(b"more")
            assert await peer.recv_exactly(4) == b"more"
            assert len(errors) == 1
            assert isinstance(errors[0]["exception"], ZeroDivisionError)
            assert errors[0]["message"] == f"protocol.{name}() failed"
            assert errors[0]["transport"] is protocol.transport
            assert errors[0]["protocol"] is protocol

    run(loop, main())


def test_memory_is_bounded_by_a_protocol_that_obeys(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder) as (client, server):
            client.transport.pause_reading()
            largest = 0
            while server.writable.is_set():
                server.transport.write(b"x" * 10_000)
                largest = max(largest, server.transport.get_write_buffer_size())
                await asyncio.sleep(0)
            assert 64 * 1024 < largest <= 64 * 1024 + 10_000
            client.transport.resume_reading()
            await server.writable.wait()

    run(loop, main())
