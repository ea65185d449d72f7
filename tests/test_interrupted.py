"""KeyboardInterrupt and SystemExit out of a callback: nothing is lost, and the loop runs on.

Owns: both of them out of every callback of a protocol, with more of the same turn to be done.
Thread: the test's own; what a peer sends is in the kernel before the loop takes its next turn.
Must not: raise a plain KeyboardInterrupt or SystemExit, which end the test run.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.interruptions import Misdeed, both_errors, run_through
from tests.support.loops import loop, loop_factory, loop_kind  # noqa: F401
from tests.support.net import (
    TIMEOUT_S,
    Peer,
    capture_errors,
    dial,
    echo_once,
    only_on,
    run,
    serving,
    turns,
    with_peer,
)
from tests.support.recorders import (
    BufferedRecorder,
    Echo,
    HalfOpenRecorder,
    Recorder,
    RecordingProtocol,
)

Loop = asyncio.AbstractEventLoop
Act = Callable[[Any], None]

COUNT = 6
TWELVE = b"abcdefghijkl"

held_or_not = pytest.mark.parametrize("held", [False, True], ids=["at once", "held"])


def nothing(_protocol: Any) -> None:
    """What a callback does besides, by default."""


def pause(protocol: Any) -> None:
    protocol.transport.pause_reading()


def raising(
    base: type[Any], name: str, error: type[BaseException], times: int = 1, besides: Act = nothing
) -> type[Any]:
    """A protocol whose callback `name` does its work, then `besides`, and raises, `times` times."""

    def callback(self: Any, *args: Any) -> Any:
        result = getattr(base, name)(self, *args)
        if self.times_left:
            self.times_left -= 1
            besides(self)
            raise error
        return result

    return type("Raising", (base,), {"times_left": times, name: callback})


class FourBytes(BufferedRecorder):
    """Takes no more than four bytes at a time."""

    space_bytes = 4


async def arrive(protocol: Any, peer: Peer, data: bytes, *, held: bool, end: bool) -> None:
    """Let `data`, and the end of the stream behind it, come at once: while paused if `held`."""
    if held:
        protocol.transport.pause_reading()
    peer.sock.sendall(data)
    if end:
        peer.half_close()
    if held:
        await turns()
        assert protocol.received_bytes == 0
        protocol.transport.resume_reading()


# ------------------------------------------------------------------ data


@both_errors
@pytest.mark.parametrize("base", [Recorder, BufferedRecorder])
def test_each_connection_of_a_turn(
    loop: Loop, base: type[RecordingProtocol], error: type[BaseException]
) -> None:
    """Data for several connections comes in one turn, and each of their callbacks raises."""
    name = "buffer_updated" if base is BufferedRecorder else "data_received"
    factory = raising(base, name, error, times=2)

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            connections = [with_peer(factory, "unix") for _ in range(COUNT)]
            both = [await stack.enter_async_context(each) for each in connections]
            for text in (b"one", b"two", b"six"):
                for number, (_, peer) in enumerate(both):
                    peer.sock.sendall(b"%d%s" % (number, text))
                for number, (protocol, _) in enumerate(both):
                    assert await protocol.read(4) == b"%d%s" % (number, text)

    assert run_through(loop, main()) == (None, 2 * COUNT)


@both_errors
@held_or_not
def test_the_end_of_the_stream_behind_data(
    loop: Loop, error: type[BaseException], held: bool
) -> None:
    async def main() -> list[str]:
        async with with_peer(raising(Recorder, "data_received", error), "unix") as (protocol, peer):
            await arrive(protocol, peer, b"one", held=held, end=True)
            assert await protocol.lost is None
            assert protocol.buffer == b"one"
            return list(protocol.calls)

    calls = ["connection_made", "data_received", "eof_received", "connection_lost"]
    assert run_through(loop, main()) == (calls, 1)


@both_errors
@held_or_not
def test_reading_goes_on(loop: Loop, error: type[BaseException], held: bool) -> None:
    async def main() -> None:
        async with with_peer(raising(Recorder, "data_received", error)) as (protocol, peer):
            await arrive(protocol, peer, b"one", held=held, end=False)
            await protocol.received(3)
            await peer.send(b"two")
            assert await protocol.read(6) == b"onetwo"

    assert run_through(loop, main()) == (None, 1)


@both_errors
def test_a_reset_behind_held_data(loop: Loop, error: type[BaseException]) -> None:
    async def main() -> None:
        async with with_peer(raising(Recorder, "data_received", error)) as (protocol, peer):
            pause(protocol)
            peer.sock.sendall(b"last")
            peer.reset()
            await turns()
            protocol.transport.resume_reading()
            assert isinstance(await protocol.lost, ConnectionResetError)
            assert protocol.buffer == b"last"
            assert protocol.calls == ["connection_made", "data_received", "connection_lost"]

    assert run_through(loop, main()) == (None, 1)


@both_errors
@held_or_not
@pytest.mark.parametrize("times", [1, 3])
def test_more_than_a_buffer_takes(
    loop: Loop, error: type[BaseException], held: bool, times: int
) -> None:
    """buffer_updated raises while two more buffers of data, and the end, are there."""
    factory = raising(FourBytes, "buffer_updated", error, times)

    async def main() -> bytes:
        async with with_peer(factory, "unix") as (protocol, peer):
            await arrive(protocol, peer, TWELVE, held=held, end=True)
            await protocol.lost
            assert protocol.calls.count("eof_received") == 1
            return bytes(protocol.buffer)

    assert run_through(loop, main()) == (TWELVE, times)


@both_errors
@held_or_not
@pytest.mark.parametrize("size_bytes", [4, 100])
def test_get_buffer(loop: Loop, error: type[BaseException], held: bool, size_bytes: int) -> None:
    """It raises every second time, before there is anywhere to put what came."""

    class Second(BufferedRecorder):
        space_bytes, calls_so_far = size_bytes, 0

        def get_buffer(self, sizehint: int) -> Any:
            self.calls_so_far += 1
            if self.calls_so_far % 2:
                raise error
            return super().get_buffer(sizehint)

    async def main() -> bytes:
        async with with_peer(Second, "unix") as (protocol, peer):
            await arrive(protocol, peer, TWELVE, held=held, end=True)
            await protocol.lost
            return bytes(protocol.buffer)

    data, interrupted = run_through(loop, main())
    assert data == TWELVE and interrupted >= -(-len(TWELVE) // size_bytes)


@both_errors
@held_or_not
def test_pausing_before_it_raises(loop: Loop, error: type[BaseException], held: bool) -> None:
    """What is left waits for resume_reading, and comes then."""
    factory = raising(FourBytes, "buffer_updated", error, times=2, besides=pause)

    async def main() -> bytes:
        async with with_peer(factory, "unix") as (protocol, peer):
            await arrive(protocol, peer, TWELVE, held=held, end=True)
            for size_bytes in (4, 8):
                await protocol.received(size_bytes)
                await turns()
                assert protocol.buffer == TWELVE[:size_bytes]
                protocol.transport.resume_reading()
            await protocol.lost
            return bytes(protocol.buffer)

    assert run_through(loop, main()) == (TWELVE, 2)


@both_errors
@only_on("loopx")
def test_what_is_left_is_scheduled_once(loop: Any, error: type[BaseException]) -> None:
    """By whoever was interrupted, and not again by its caller. asyncio has no such queue."""

    async def main() -> bytes:
        async with with_peer(raising(FourBytes, "buffer_updated", error)) as (protocol, peer):
            await arrive(protocol, peer, TWELVE, held=True, end=True)
            await protocol.lost
            return bytes(protocol.buffer)

    task = loop.create_task(main())
    with pytest.raises(error):
        loop.run_forever()
    assert loop.stats()["ready"] == 1
    assert run(loop, asyncio.wait_for(task, TIMEOUT_S)) == TWELVE


@both_errors
def test_another_protocol_gets_what_is_left(loop: Loop, error: type[BaseException]) -> None:
    def replace(protocol: Any) -> None:
        protocol.successor = Recorder()
        protocol.transport.set_protocol(protocol.successor)

    factory = raising(FourBytes, "buffer_updated", error, besides=replace)

    async def main() -> bytes:
        async with with_peer(factory, "unix") as (protocol, peer):
            await arrive(protocol, peer, TWELVE, held=False, end=True)
            await protocol.received(4)
            await protocol.successor.lost
            protocol.connection_lost(None)
            return bytes(protocol.buffer + b"|" + protocol.successor.buffer)

    assert run_through(loop, main()) == (b"abcd|efghijkl", 1)


@both_errors
def test_exception_handler_of_a_connection(loop: Loop, error: type[BaseException]) -> None:
    """Told of a data_received that failed, it raises: the others of the turn get their data."""

    def handler(_loop: Loop, context: dict[str, Any]) -> None:
        assert isinstance(context["exception"], Misdeed)
        raise error

    async def main() -> None:
        failing = raising(Recorder, "data_received", Misdeed)
        async with contextlib.AsyncExitStack() as stack:
            factories = [failing, Recorder, failing, Recorder]
            connections = [with_peer(factory, "unix") for factory in factories]
            pairs = [await stack.enter_async_context(each) for each in connections]
            loop.set_exception_handler(handler)
            for _, peer in pairs:
                peer.sock.sendall(b"data")
            for protocol, _ in pairs:
                assert await protocol.read(4) == b"data"
            await turns()
            assert capture_errors(loop) == []

    assert run_through(loop, main()) == (None, 2)


# ------------------------------------------------------------------ the end


@both_errors
@held_or_not
def test_eof_received(loop: Loop, error: type[BaseException], held: bool) -> None:
    """The end is told again, and the other direction stays open."""

    async def main() -> bytes:
        factory = raising(HalfOpenRecorder, "eof_received", error)
        async with with_peer(factory, "unix") as (protocol, peer):
            await arrive(protocol, peer, b"one", held=held, end=True)
            await protocol.ended
            await turns()
            assert protocol.calls[:2] == ["connection_made", "data_received"]
            assert protocol.calls[2:] == ["eof_received"] * 2
            protocol.transport.write(b"after")
            protocol.transport.close()
            return await peer.recv_to_eof()

    assert run_through(loop, main()) == (b"after", 1)


@held_or_not
def test_pausing_and_resuming_before_the_end(loop: Loop, held: bool) -> None:
    """Inside data_received, with the end of the stream behind the data: it is told once."""

    class Hesitant(HalfOpenRecorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            self.transport.resume_reading()

    async def main() -> list[str]:
        async with with_peer(Hesitant, "unix") as (protocol, peer):
            await arrive(protocol, peer, b"one", held=held, end=True)
            await protocol.ended
            await turns()
            assert protocol.buffer == b"one"
            return list(protocol.calls)

    assert run(loop, main()) == ["connection_made", "data_received", "eof_received"]


# ------------------------------------------------------------------ the beginning


@both_errors
def test_connection_made_of_a_client(loop: Loop, error: type[BaseException]) -> None:
    async def main() -> bytes:
        async with with_peer(raising(Echo, "connection_made", error)) as (_, peer):
            await peer.send(b"hello")
            return await peer.recv_exactly(5)

    assert run_through(loop, main()) == (b"hello", 1)


@both_errors
def test_connection_made_of_a_server(loop: Loop, error: type[BaseException]) -> None:
    """Every connection is accepted and served, though each of them raised."""

    async def main() -> None:
        async with serving(raising(Echo, "connection_made", error)) as served:
            clients = [await dial(served.address) for _ in range(COUNT)]
            clients.append(await dial(served.address))
            for client in clients:
                await echo_once(client)
                client.transport.close()
                await client.lost

    assert run_through(loop, main()) == (None, COUNT + 1)


@both_errors
@only_on("loopx")
def test_protocol_factory(loop: Loop, error: type[BaseException]) -> None:
    """A connection without a protocol is closed; those that wait behind it are accepted.

    asyncio leaves the connection to the garbage collector, with a warning.
    """
    failures = [error] * COUNT

    def factory() -> Echo:
        if failures:
            raise failures.pop()
        return Echo()

    async def main() -> None:
        async with serving(factory) as served:
            with contextlib.ExitStack() as stack:
                peers = []
                for _ in range(COUNT + 2):
                    sock = stack.enter_context(socket.create_connection(served.address, TIMEOUT_S))
                    peers.append(Peer(sock))
                for peer in peers[:COUNT]:
                    assert await peer.recv_to_eof() == b""
                for peer in peers[COUNT:]:
                    await peer.send(b"hello")
                    assert await peer.recv_exactly(5) == b"hello"
            client = await dial(served.address)
            await echo_once(client)
            client.transport.close()
            await client.lost

    assert run_through(loop, main()) == (None, COUNT)
