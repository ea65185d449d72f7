"""Bulk that is more than one receive brings: what others have to do goes before the rest.

Owns: a connection whose socket holds several pieces, what its protocol does at the first of them,
and who else has something to do.
Thread: the test's own; the peers' sockets are written to from there.
Runs on asyncio and on loopx.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.bulk import never_anew, settle  # noqa: F401
from tests.support.interruptions import Interruption, Misdeed, run_through
from tests.support.net import Peer, only_on, run, turns, with_peer
from tests.support.recorders import (
    BufferedRecorder,
    Echo,
    HalfOpenRecorder,
    RecordingProtocol,
)

DATA = bytes(range(256)) * 400               # more than one piece, and what a socket holds
PIECES_AHEAD_MAX = 2


class Piecewise(RecordingProtocol):
    """Notes the pieces, and in which turn each came; does `at_first` at the first one."""

    keep_open = True

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.turns: list[int] = []
        self.at_first: Callable[[], Any] | None = None

    def note_data(self, name: str, data: bytes | memoryview) -> None:
        super().note_data(name, data)
        self.log.append("piece")
        self.turns.append(getattr(asyncio.get_running_loop(), "stats", dict)().get("turns", 0))
        action, self.at_first = self.at_first, None
        if action is not None:
            action()


class Plain(Piecewise, HalfOpenRecorder):
    """In pieces of 64 KiB on loopx, which has seen no more at once from this peer."""


class Buffered(Piecewise, BufferedRecorder):
    """In pieces of 16 KiB."""


each_protocol = pytest.mark.parametrize("factory", [Plain, Buffered])


@contextlib.asynccontextmanager
async def used_to_bulk(factory: type[Piecewise]) -> AsyncIterator[tuple[Piecewise, Peer]]:
    async with with_peer(factory) as (protocol, peer):
        await settle(protocol, peer)
        await turns(5)
        protocol.log.clear()
        protocol.turns.clear()
        yield protocol, peer


@contextlib.asynccontextmanager
async def with_bulk(
    factory: type[Piecewise],
    at_first: Callable[[Piecewise], Any] | None = None,
    resumed: bool = True,
) -> AsyncIterator[tuple[Piecewise, Peer]]:
    """A connection that is to be told of DATA."""
    async with used_to_bulk(factory) as (protocol, peer):
        if at_first is not None:
            protocol.at_first = lambda: at_first(protocol)
        protocol.transport.pause_reading()
        await turns(5)
        peer.sock.sendall(DATA)
        if resumed:
            protocol.transport.resume_reading()
        yield protocol, peer


async def whole(protocol: Piecewise) -> bytes:
    """All of it. Nobody waits for that, whom a piece would make ready: the rest goes behind."""
    while len(protocol.buffer) < len(DATA):
        await asyncio.sleep(0.005)
    return bytes(protocol.buffer)


async def all_came(protocol: Piecewise, log: list[str], entry: str) -> None:
    """DATA is there, in more pieces than `entry` in the log has had to wait for."""
    assert await whole(protocol) == DATA
    await turns(5)
    pieces = log.count("piece")
    assert log.index(entry) <= PIECES_AHEAD_MAX, log
    assert pieces > log.index(entry) or comes_whole(protocol), log


def comes_whole(protocol: Piecewise) -> bool:
    """asyncio receives up to 256 KiB at once."""
    on_loopx = type(asyncio.get_running_loop()).__module__.startswith("loopx")
    return isinstance(protocol, Plain) and not on_loopx


@only_on("loopx")
@each_protocol
def test_what_nobody_else_waits_for_is_received_in_one_turn(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    """asyncio receives once a turn."""

    async def main() -> None:
        async with with_bulk(factory) as (protocol, _peer):
            assert await whole(protocol) == DATA
            assert len(protocol.turns) > 1
            assert len(set(protocol.turns)) == 1, protocol.turns

    run(loop, main())


@each_protocol
@pytest.mark.parametrize("by", ["itself", "a thread"])
def test_a_callback_goes_before_the_rest(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise], by: str
) -> None:
    async def main() -> None:
        def act(protocol: Piecewise) -> None:
            if by == "itself":
                loop.call_soon(protocol.log.append, "called")
                return
            thread = threading.Thread(
                target=loop.call_soon_threadsafe, args=(protocol.log.append, "called"))
            thread.start()
            thread.join()

        async with with_bulk(factory, act) as (protocol, _peer):
            await all_came(protocol, protocol.log, "called")

    run(loop, main())


class Short(asyncio.Protocol):
    """Notes that something came."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def data_received(self, data: bytes) -> None:
        self.log.append("short")

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.log.append("short")


@each_protocol
@pytest.mark.parametrize("kind", ["stream", "datagram", "reader"])
def test_a_short_message_goes_before_the_rest(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise], kind: str
) -> None:
    async def main() -> None:
        log: list[str] = []
        datagrams = kind == "datagram"
        ours, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM)
        ours.setblocking(False)
        transport: Any = None
        if kind == "reader":
            loop.add_reader(ours, lambda: log.append("short") if ours.recv(100) else None)
        elif datagrams:
            transport, _ = await loop.create_datagram_endpoint(lambda: Short(log), sock=ours)
        else:
            transport, _ = await loop.create_connection(lambda: Short(log), sock=ours)
        await turns(5)

        def act(protocol: Piecewise) -> None:
            protocol.log = log
            log.append("piece")
            theirs.send(b"short")

        try:
            async with with_bulk(factory, act) as (protocol, _peer):
                await all_came(protocol, log, "short")
        finally:
            if transport is None:
                loop.remove_reader(ours)
                ours.close()
            else:
                transport.close()
            theirs.close()

    run(loop, main())


def test_an_answer_leaves_before_the_rest(loop: asyncio.AbstractEventLoop) -> None:
    """A message that came before the bulk is answered; the peer has that by the third piece."""

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            # With next to no connections it would be sent at once.
            *_, (_echo, asking) = [
                await stack.enter_async_context(with_peer(Echo)) for _ in range(10)
            ]
            asking.sock.setblocking(False)

            def look_for_answer() -> None:
                with contextlib.suppress(BlockingIOError):
                    protocol.log.append(asking.sock.recv(100).decode())
                if "answer" not in protocol.log:
                    protocol.at_first = look_for_answer

            protocol, peer = await stack.enter_async_context(used_to_bulk(Buffered))
            protocol.at_first = look_for_answer
            asking.sock.send(b"answer")
            peer.sock.sendall(DATA)
            await all_came(protocol, protocol.log, "answer")

    run(loop, main())


@each_protocol
def test_a_pause_ends_it(loop: asyncio.AbstractEventLoop, factory: type[Piecewise]) -> None:
    async def main() -> None:
        async with with_bulk(factory, lambda one: one.transport.pause_reading()) as (protocol, _):
            await asyncio.sleep(0.05)
            assert protocol.log == ["piece"]
            protocol.transport.resume_reading()
            assert await whole(protocol) == DATA

    run(loop, main())


@each_protocol
@pytest.mark.parametrize("ending", ["close", "abort", "an exception"])
def test_nothing_comes_after_the_end(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise], ending: str
) -> None:
    loop.set_exception_handler(lambda _loop, context: None)

    async def main() -> None:
        def act(protocol: Piecewise) -> None:
            if ending == "an exception":
                raise Misdeed
            getattr(protocol.transport, ending)()

        async with with_bulk(factory, act) as (protocol, _peer):
            assert isinstance(await protocol.lost, Misdeed) == (ending == "an exception")
            await turns(5)
            assert protocol.log == ["piece"]

    run(loop, main())


@each_protocol
def test_a_loop_that_stops_gets_the_rest_when_it_runs_again(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    async def begin() -> Piecewise:
        bulk = with_bulk(factory, lambda _protocol: loop.stop(), resumed=False)
        protocol, _peer = await stack.enter_async_context(bulk)
        return protocol

    stack = contextlib.AsyncExitStack()
    protocol = run(loop, begin())
    protocol.transport.resume_reading()
    loop.run_forever()
    assert protocol.log == ["piece"]
    assert run(loop, whole(protocol)) == DATA
    run(loop, stack.aclose())


@each_protocol
def test_an_interruption_leaves_the_rest_for_later(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    async def main() -> None:
        def act(_protocol: Piecewise) -> None:
            raise Interruption

        async with with_bulk(factory, act) as (protocol, _peer):
            assert await whole(protocol) == DATA

    _, times = run_through(loop, main())
    assert times == 1


@pytest.mark.parametrize("factory", [Plain, Buffered])
@pytest.mark.parametrize("other", [Plain, Buffered])
def test_the_rest_goes_to_the_protocol_that_was_set(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise], other: type[Piecewise]
) -> None:
    async def main() -> None:
        second = other()
        async with with_bulk(factory, lambda one: one.transport.set_protocol(second)) as (first, _):
            first_length = 0
            while first_length + len(second.buffer) < len(DATA):
                await asyncio.sleep(0.01)
                first_length = len(first.buffer)
            assert first.log == ["piece"]
            assert first.buffer + second.buffer == DATA
            second.transport = first.transport
            first.transport.set_protocol(first)

    run(loop, main())


@pytest.mark.usefixtures("never_anew")
@each_protocol
def test_the_end_behind_it_is_told_once(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    async def main() -> None:
        async with with_bulk(factory) as (protocol, peer):
            peer.half_close()
            while "eof_received" not in protocol.calls:
                await asyncio.sleep(0.005)     # a waiter for it would be ready, and go first
            assert await whole(protocol) == DATA
            assert protocol.calls.count("eof_received") == 1

    run(loop, main())


@only_on("loopx")
@each_protocol
def test_who_answers_what_comes_takes_turns(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    """asyncio receives once a turn, whoever it is."""

    async def main() -> None:
        def answer(protocol: Piecewise) -> None:
            protocol.transport.write(b"a" * 100_000)
            protocol.at_first = lambda: answer(protocol)

        async with with_bulk(factory, answer) as (protocol, peer):
            assert await whole(protocol) == DATA
            assert len(set(protocol.turns)) == len(protocol.turns)
            await peer.recv_exactly(100_000 * len(protocol.turns))

    run(loop, main())


class Endless:
    """Bulk each piece of which has the next one sent: the socket is never empty."""

    def __init__(self, protocol: Piecewise, peer: Peer) -> None:
        peer.sock.setblocking(False)
        self.protocol, self.peer = protocol, peer
        self.send_on()

    def send_on(self) -> None:
        self.protocol.at_first = self.send_on
        self.protocol.log.clear()
        self.protocol.turns.clear()
        self.protocol.buffer.clear()
        with contextlib.suppress(BlockingIOError):
            self.peer.sock.send(DATA)


@each_protocol
def test_bulk_without_an_end_does_not_keep_the_loop(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    async def main() -> None:
        async with with_bulk(factory) as (protocol, peer):
            Endless(protocol, peer)
            for _ in range(3):
                await asyncio.sleep(0.01)
            protocol.transport.abort()

    run(loop, main())


def test_bulk_without_an_end_leaves_others_their_share(loop: asyncio.AbstractEventLoop) -> None:
    """Where one only got a piece for each time that the other is drained: a 512th."""

    async def main() -> None:
        async with with_bulk(Buffered) as one, with_bulk(Buffered) as other:
            Endless(*one)
            Endless(*other)
            await asyncio.sleep(0.01)
            before = [protocol.received_bytes for protocol, _peer in (one, other)]
            await asyncio.sleep(0.2)
            shares = [
                protocol.received_bytes - bytes_before
                for (protocol, _peer), bytes_before in zip((one, other), before, strict=True)
            ]
            for protocol, _peer in (one, other):
                protocol.transport.abort()
            assert min(shares) > max(shares) / 100, shares

    run(loop, main())
