"""BufferedProtocol: whose buffer receives, of which size, and what may go wrong with it.

Owns: get_buffer and buffer_updated (pausing and half-closing are in the transport's own files).
Thread: the test's own; the peer blocks in worker threads.
Must not: expect a certain `sizehint` or number of calls.
"""

import array
import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support.net import Peer, capture_errors, connected, run, turns, with_peer
from tests.support.payload import MIB, digest, pattern
from tests.support.recorders import BufferedRecorder, Recorder


@pytest.mark.parametrize("size_bytes", [1, 7, 4096, 65_536, MIB])
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_every_size_of_buffer(
    loop: asyncio.AbstractEventLoop, size_bytes: int, family: str
) -> None:
    class Sized(BufferedRecorder):
        space_bytes = size_bytes

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.space

    async def main() -> None:
        data = pattern(min(3 * MIB, 20_000 * size_bytes))
        async with with_peer(Sized, family) as (protocol, peer):
            await asyncio.gather(peer.send(data), protocol.received(len(data)))
            assert digest(protocol.buffer) == digest(data)
            peer.half_close()
            assert await protocol.lost is None

    run(loop, main())


def test_a_different_buffer_each_time(loop: asyncio.AbstractEventLoop) -> None:
    """Every answer is used for one piece at most; sizes go up and down."""

    class Changing(BufferedRecorder):
        calls_so_far = 0

        def get_buffer(self, sizehint: int) -> bytearray:
            self.calls_so_far += 1
            self.space = bytearray(1 + (self.calls_so_far * 7919) % 100_000)
            return self.space

        def buffer_updated(self, nbytes: int) -> None:
            assert 0 < nbytes <= len(self.space)
            super().buffer_updated(nbytes)

    async def main() -> None:
        data = pattern(6 * MIB)
        async with with_peer(Changing) as (protocol, peer):
            await asyncio.gather(peer.send(data), protocol.received(len(data)))
            assert digest(protocol.buffer) == digest(data)

    run(loop, main())


def test_a_window_into_a_larger_buffer(loop: asyncio.AbstractEventLoop) -> None:
    """Nothing outside the memoryview that get_buffer returned is touched."""

    class Windowed(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> memoryview:
            return memoryview(self.space)[100:200]

        def buffer_updated(self, nbytes: int) -> None:
            self.note_data("buffer_updated", memoryview(self.space)[100 : 100 + nbytes])

    async def main() -> None:
        data = pattern(10_000)
        async with with_peer(Windowed) as (protocol, peer):
            await peer.send(data)
            assert await protocol.read(len(data)) == data
            assert not any(protocol.space[:100])
            assert not any(protocol.space[200:])

    run(loop, main())


def test_other_buffers_than_bytearray(loop: asyncio.AbstractEventLoop) -> None:
    class Array(BufferedRecorder):
        def __init__(self) -> None:
            super().__init__()
            self.words = array.array("B", bytes(5000))

        def get_buffer(self, sizehint: int) -> Any:
            return self.words

        def buffer_updated(self, nbytes: int) -> None:
            self.note_data("buffer_updated", memoryview(self.words)[:nbytes])

    async def main() -> None:
        data = pattern(100_000)
        async with with_peer(Array) as (protocol, peer):
            await peer.send(data)
            assert await protocol.read(len(data)) == data

    run(loop, main())


def test_the_buffer_is_the_protocols_own_between_calls(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """What the protocol does to its buffer between two messages never mixes with later data."""

    class Scribbler(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.space[:] = b"\xff" * len(self.space)

    async def main() -> None:
        async with with_peer(Scribbler) as (protocol, peer):
            for number in range(200):
                message = b"%06d" % number
                await peer.send(message)
                assert await protocol.read(6) == message
                assert protocol.space == b"\xff" * len(protocol.space)

    run(loop, main())


def test_echo_from_the_buffer_itself(loop: asyncio.AbstractEventLoop) -> None:
    """Writing a view of the receive buffer: what is sent is what was there at the write."""

    class ViewEcho(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.transport.write(bytes(memoryview(self.space)[:nbytes]))

    async def main() -> None:
        data = pattern(2 * MIB)
        async with with_peer(ViewEcho) as (_protocol, peer):
            _, echoed = await asyncio.gather(peer.send(data), peer.recv_exactly(len(data)))
            assert digest(echoed) == digest(data)

    run(loop, main())


def test_buffered_on_both_sides(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(5 * MIB)
        async with connected(BufferedRecorder, BufferedRecorder) as (client, server):
            client.transport.write(data)
            server.transport.write(data)
            await asyncio.gather(client.received(len(data)), server.received(len(data)))
            assert digest(client.buffer) == digest(server.buffer) == digest(data)

    run(loop, main())


def test_exchange_between_both_kinds_of_protocol(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (plain, peer):
            for number in range(20):
                buffered = BufferedRecorder()
                plain.transport.set_protocol(buffered)
                await peer.send(b"buffered%02d" % number)
                assert await buffered.read(10) == b"buffered%02d" % number
                plain.transport.set_protocol(plain)
                await peer.send(b"plain%02d" % number)
                assert await plain.read(7) == b"plain%02d" % number
            assert set(buffered.calls) == {"buffer_updated"}

    run(loop, main())


def replace(protocol: Any) -> None:
    protocol.successor = Recorded(protocol)
    protocol.transport.set_protocol(protocol.successor)


class Recorded(BufferedRecorder):
    """Has the buffer, and is told, in the place of another one."""

    def __init__(self, first: BufferedRecorder) -> None:
        super().__init__()
        self.space, self.transport = first.space, first.transport


Act = Callable[[Any], None]


@pytest.mark.parametrize("space_bytes", [4, 100])
@pytest.mark.parametrize(
    ("act", "goes_on"),
    [
        (lambda protocol: protocol.transport.pause_reading(), True),
        (lambda protocol: protocol.transport.close(), False),
        (lambda protocol: protocol.transport.abort(), False),
        (replace, True),
    ],
    ids=["pause", "close", "abort", "replace"],
)
def test_what_get_buffer_does_besides(
    loop: asyncio.AbstractEventLoop, space_bytes: int, act: Act, goes_on: bool
) -> None:
    """What it was asked for is received all the same: once, by whoever is the protocol then."""

    class Acting(BufferedRecorder):
        successor: BufferedRecorder | None = None

        def get_buffer(self, sizehint: int) -> memoryview:
            if "acted" not in self.calls:
                self.calls.append("acted")
                act(self)
            return super().get_buffer(sizehint)  # type: ignore[return-value]

    Acting.space_bytes = space_bytes
    data = b"0123456789"

    async def main() -> None:
        async with with_peer(Acting) as (protocol, peer):
            await peer.send(data)
            while not (protocol.received_bytes or protocol.successor):
                await turns()
            last = protocol.successor or protocol
            await last.received(min(space_bytes, len(data)))
            await turns()
            if goes_on:
                protocol.transport.resume_reading()
                await peer.send(b"more")
                assert await last.read(14) == data + b"more"
            else:
                await protocol.lost
                assert protocol.buffer == data[:space_bytes]
            assert protocol.calls[:2] == ["connection_made", "acted"]
            if protocol.successor:
                assert "buffer_updated" not in protocol.calls
                protocol.transport.close()
                protocol.connection_lost(await last.lost)

    run(loop, main())


def test_methods_are_looked_up_each_time(loop: asyncio.AbstractEventLoop) -> None:
    """On the object and on its class, where somebody may have put others meanwhile."""

    class Changing(BufferedRecorder):
        pass

    def other_buffer(self: BufferedRecorder, sizehint: int) -> bytearray:
        self.calls.append("other get_buffer")
        return self.space

    def other_update(self: BufferedRecorder, nbytes: int) -> None:
        self.note_data("other buffer_updated", memoryview(self.space)[:nbytes])

    async def main() -> None:
        async with with_peer(Changing) as (protocol, peer):
            await peer.send(b"one")
            assert await protocol.read(3) == b"one"
            Changing.get_buffer = other_buffer  # type: ignore[method-assign]
            await peer.send(b"two")
            assert await protocol.read(3) == b"two"
            protocol.buffer_updated = partial(other_update, protocol)
            await peer.send(b"six")
            assert await protocol.read(3) == b"six"
            assert protocol.calls[1:] == [
                *("buffer_updated", "other get_buffer", "buffer_updated"),
                *("other get_buffer", "other buffer_updated"),
            ]

    run(loop, main())


def raise_error(protocol: BufferedRecorder, sizehint: int) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda _protocol, _hint: bytearray(), RuntimeError),
        (lambda _protocol, _hint: b"read-only", (TypeError, BufferError)),
        (lambda _protocol, _hint: None, TypeError),
        (lambda _protocol, _hint: 7, TypeError),
        (raise_error, ZeroDivisionError),
    ],
    ids=["empty", "read-only", "None", "int", "raises"],
)
def test_bad_answers_of_get_buffer(
    loop: asyncio.AbstractEventLoop,
    answer: Callable[[BufferedRecorder, int], Any],
    kind: type[Exception],
) -> None:
    class Faulty(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            return answer(self, sizehint)

    async def main() -> None:
        errors = capture_errors(loop)
        async with with_peer(Faulty) as (protocol, peer):
            await peer.send(b"x")
            error = await protocol.lost
            assert isinstance(error, kind)
            assert [context["exception"] for context in errors] == [error]
            assert errors[0]["transport"] is protocol.transport
            assert errors[0]["protocol"] is protocol
            assert "buffer_updated" not in protocol.calls
            await ended_or_reset(peer)

    run(loop, main())


def test_an_exception_in_buffer_updated(loop: asyncio.AbstractEventLoop) -> None:
    class Faulty(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        errors = capture_errors(loop)
        async with with_peer(Faulty) as (protocol, peer):
            await peer.send(b"x")
            error = await protocol.lost
            assert isinstance(error, ZeroDivisionError)
            assert [context["exception"] for context in errors] == [error]
            assert errors[0]["message"] == "Fatal error: protocol.buffer_updated() call failed."
            await ended_or_reset(peer)

    run(loop, main())


async def ended_or_reset(peer: Peer) -> None:
    """The peer is told: by an end of stream, or by a reset if it had sent what nobody read."""
    try:
        assert await peer.recv() == b""
    except ConnectionResetError:
        pass


def test_the_buffer_is_let_go_when_the_connection_ends(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        async with with_peer(BufferedRecorder) as (protocol, peer):
            await peer.send(b"x")
            await protocol.read(1)
            protocol.transport.abort()
            await protocol.lost
            del protocol.space[:]  # BufferError if anybody still held it

    run(loop, main())
