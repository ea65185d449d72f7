"""A protocol's callback that raises, closes, aborts, stops the loop or lets go of its transport.

Owns: the product of every callback with every such action.
Thread: the test's own; the peer blocks in worker threads.
Must not: promise which callbacks come between the misdeed and connection_lost.
"""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import pytest

from tests.support.net import (
    TIMEOUT_S,
    Peer,
    capture_errors,
    dial,
    echo_once,
    only_on,
    serving,
    tcp_pair,
)
from tests.support.payload import MIB
from tests.support.recorders import BufferedRecorder, Echo, Recorder, RecordingProtocol

BIG = b"b" * (16 * MIB)
FLOW = ("pause_writing", "resume_writing")
READING = ("data_received", "eof_received", "get_buffer", "buffer_updated")
CALLBACKS = ("connection_made", *READING, *FLOW, "connection_lost")


class Misdeed(Exception):
    """What a misbehaving callback raises."""


class Interruption(KeyboardInterrupt):
    """What Ctrl-C raises in a callback."""


def raises(protocol: Any) -> None:
    raise Misdeed


def interrupts(protocol: Any) -> None:
    raise Interruption


def closes(protocol: Any) -> None:
    protocol.transport.close()


def aborts(protocol: Any) -> None:
    protocol.transport.abort()


def stops(protocol: Any) -> None:
    asyncio.get_running_loop().stop()


def lets_go(protocol: Any) -> None:
    """Drop every reference of ours: only the loop holds the transport from here on."""
    protocol.transport = protocol.made = None
    gc.collect()


ACTIONS = (raises, closes, aborts, stops, lets_go)
# asyncio calls connection_lost twice when resume_writing has closed the transport.
ENDS_IN_RESUME = [("resume_writing", closes), ("resume_writing", aborts)]


def misbehaving(name: str, action: Callable[[Any], None]) -> type[RecordingProtocol]:
    """A protocol whose callback `name` does its work and then `action(protocol)`, once."""
    base: type[Any] = BufferedRecorder if "buffer" in name else Recorder

    def init(self: Any) -> None:
        base.__init__(self)
        self.acted = asyncio.get_running_loop().create_future()

    def callback(self: Any, *args: Any) -> Any:
        result = getattr(base, name)(self, *args)
        if not self.acted.done():
            self.acted.set_result(None)
            action(self)
        return result

    return type("Misbehaving", (base,), {"__init__": init, name: callback})


class Outcome(NamedTuple):
    """What is left when the connection is over."""

    protocol: Any
    sent_bytes: int
    error: Exception | None


async def play(name: str, action: Callable[[Any], None]) -> Outcome:
    """Connect, make the loop call `name`, let the peer end the connection, await its end."""
    loop = asyncio.get_running_loop()
    async with serving(Echo) as served:
        witness = await dial(served.address)
        await echo_once(witness, b"before")
        ours, theirs = tcp_pair()
        peer = Peer(theirs)
        protocol: Any
        protocol = (await loop.create_connection(misbehaving(name, action), sock=ours))[1]
        if name in FLOW:
            protocol.transport.write(BIG)
        elif name == "eof_received":
            peer.half_close()
        elif name in READING:
            await peer.send(b"data")
        ending = asyncio.ensure_future(read_and_close(peer, len(BIG) if name in FLOW else 0))
        if name != "connection_lost":
            await protocol.acted
        if action is interrupts:  # what the transport does next is its own choice
            await ending
            protocol.transport.abort()
        outcome = Outcome(protocol, await ending, await protocol.lost)
        await echo_once(witness, b"after")
        witness.transport.close()
        await witness.lost
    return outcome


async def read_and_close(peer: Peer, size_bytes: int) -> int:
    """Read `size_bytes`, or what there is before the end, and close; returns the number read."""

    def loop() -> int:
        got, space = 0, bytearray(MIB)
        try:
            while got < size_bytes:
                count = peer.sock.recv_into(space)
                if not count:
                    break
                got += count
        except ConnectionResetError:
            pass
        return got

    try:
        return await asyncio.to_thread(loop)
    finally:
        peer.close()


def run_through(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Outcome]
) -> tuple[Outcome, list[str]]:
    """Run to the end however often the loop is stopped or interrupted: (result, what happened)."""
    happened: list[str] = []
    task = loop.create_task(asyncio.wait_for(coro, TIMEOUT_S))
    task.add_done_callback(lambda _task: loop.stop())
    while not task.done():
        try:
            loop.run_forever()
        except Interruption:
            happened.append("interrupted")
        else:
            if not task.done():
                happened.append("stopped")
    return task.result(), happened


def check(
    loop: asyncio.AbstractEventLoop, name: str, action: Callable[[Any], None]
) -> None:
    errors = capture_errors(loop)
    outcome, happened = run_through(loop, play(name, action))
    assert outcome.protocol.calls.count("connection_made") == 1
    assert outcome.protocol.calls.count("connection_lost") == 1
    assert outcome.protocol.calls[-1] == "connection_lost"
    assert happened == (["stopped"] if action is stops else [])
    if name in FLOW and action is not aborts:
        assert outcome.sent_bytes == len(BIG)  # not a byte is lost
    if action is not raises:
        assert errors == []
        assert outcome.error is None
        return
    (context,) = errors
    assert isinstance(context["exception"], Misdeed)
    if name in READING:
        assert outcome.error is context["exception"]
        assert context["protocol"] is outcome.protocol
        assert context["message"] == f"Fatal error: protocol.{name}() call failed."
    else:
        assert outcome.error is None


@pytest.mark.parametrize(
    ("name", "action"),
    [
        (name, action)
        for name in CALLBACKS
        for action in ACTIONS
        if (name, action) not in ENDS_IN_RESUME
    ],
)
def test_misdeed(
    loop: asyncio.AbstractEventLoop, name: str, action: Callable[[Any], None]
) -> None:
    check(loop, name, action)


@only_on("loopx")
@pytest.mark.parametrize(("name", "action"), ENDS_IN_RESUME)
def test_ending_the_connection_in_resume_writing(
    loop: asyncio.AbstractEventLoop, name: str, action: Callable[[Any], None]
) -> None:
    """asyncio fails here with an AttributeError in the loop."""
    check(loop, name, action)


@pytest.mark.parametrize("name", [name for name in CALLBACKS if name not in FLOW])
def test_keyboard_interrupt(loop: asyncio.AbstractEventLoop, name: str) -> None:
    """It comes out of run_forever, and the loop can go on afterwards."""
    errors = capture_errors(loop)
    outcome, happened = run_through(loop, play(name, interrupts))
    assert happened == ["interrupted"]
    assert outcome.protocol.calls.count("connection_lost") == 1
    assert errors == []


@pytest.mark.parametrize("times", [1, 5])
def test_stopping_in_the_middle_of_much_data(
    loop: asyncio.AbstractEventLoop, times: int
) -> None:
    """What had arrived when the loop was stopped is delivered when it goes on."""

    class Stopper(Echo):
        stops_left = times

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.stops_left:
                self.stops_left -= 1
                loop.stop()

    async def main() -> Outcome:
        async with serving(Stopper) as served:
            client: Recorder = await dial(served.address)
            client.transport.write(BIG)
            await client.received(len(BIG))
            client.transport.close()
            return Outcome(client, client.received_bytes, await client.lost)

    outcome, happened = run_through(loop, main())
    assert set(happened) == {"stopped"}
    assert len(happened) <= times  # two calls of stop() in one turn are one stop
    assert outcome.sent_bytes == len(BIG)
    assert outcome.protocol.buffer == BIG
