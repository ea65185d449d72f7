"""The end of datagram endpoints: close(), abort(), a loop that is closed, nobody who closes.

Owns: what still leaves, what is still received, connection_lost, descriptors, warnings.
Thread: the test's own.
Must not: keep a transport alive in a variable where its collection is looked at.
"""

import asyncio
import gc
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.support.datagrams import (
    ANY_PORT,
    DatagramRecorder,
    drain,
    endpoint,
    fill,
    name_of,
    udp_socket,
    unix_pair,
)
from tests.support.loops import run_turns
from tests.support.net import only_on, run, turns


def test_closing(loop: asyncio.AbstractEventLoop) -> None:
    """connection_lost(None) comes later, once, and the descriptor is closed after it."""

    async def main() -> None:
        _, protocol = await loop.create_datagram_endpoint(DatagramRecorder, ANY_PORT)
        fd = protocol.transport.get_extra_info("socket").fileno()
        name = name_of(protocol)
        protocol.transport.close()
        protocol.transport.close()
        assert protocol.transport.is_closing()
        assert not protocol.transport.is_reading()
        assert "connection_lost" not in protocol.calls
        os.fstat(fd)
        assert await protocol.lost is None
        await turns()
        assert protocol.calls == ["connection_made", "connection_lost"]
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        assert name_of(protocol) == name
        async with endpoint(name):  # the address is free
            pass

    run(loop, main())


def test_nothing_is_received_after_closing(loop: asyncio.AbstractEventLoop) -> None:
    class Closing(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            getattr(self.transport, data.decode())()

    async def main() -> None:
        for ending in (b"close", b"abort"):
            async with endpoint(ANY_PORT, Closing) as protocol:
                with udp_socket() as sock:
                    for _ in range(5):
                        sock.sendto(ending, name_of(protocol))
                assert await protocol.lost is None
                assert [data for data, _ in protocol.received] == [ending]
                assert protocol.calls[-1] == "connection_lost"

    run(loop, main())


def test_what_waits_still_leaves(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """More than goes in one turn; sent after close(), too; connection_lost comes last."""

    async def main() -> None:
        with unix_pair(tmp_path) as (ours, theirs):
            async with endpoint(sock=ours) as protocol:
                filled = fill(ours)
                sent = [b"%d" % number for number in range(100)]
                for data in sent:
                    protocol.transport.sendto(data)
                protocol.transport.close()
                theirs.send(b"not received any more")
                protocol.transport.sendto(b"late")
                assert protocol.transport.is_closing()
                await turns()
                assert not protocol.lost.done()
                received: list[bytes] = []
                while len(received) < filled + len(sent) + 1:
                    assert not protocol.lost.done() or len(received) >= len(sent)
                    received += drain(theirs)
                    await asyncio.sleep(0)
                assert received == [b"f"] * filled + sent + [b"late"]
                assert await protocol.lost is None
                assert protocol.received == []

    run(loop, main())


def test_abort_drops_what_waits(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        with unix_pair(tmp_path) as (ours, theirs):
            async with endpoint(sock=ours) as protocol:
                filled = fill(ours)
                protocol.transport.sendto(b"waits")
                protocol.transport.abort()
                protocol.transport.abort()
                assert await protocol.lost is None
                await turns()
                assert drain(theirs) == [b"f"] * filled

    run(loop, main())


def test_abort_after_close(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        with unix_pair(tmp_path) as (ours, theirs):
            async with endpoint(sock=ours) as protocol:
                filled = fill(ours)
                protocol.transport.sendto(b"waits")
                protocol.transport.close()
                await turns()
                assert not protocol.lost.done()
                protocol.transport.abort()
                assert await protocol.lost is None
                assert drain(theirs) == [b"f"] * filled

    run(loop, main())


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_closing_in_connection_made(loop: asyncio.AbstractEventLoop, ending: str) -> None:
    class Leaving(DatagramRecorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            getattr(transport, ending)()

    async def main() -> None:
        async with endpoint(ANY_PORT, Leaving) as protocol:
            assert await protocol.lost is None
        assert protocol.calls == ["connection_made", "connection_lost"]

    run(loop, main())


async def close_in_callback(folder: Path, callback: str, ending: str) -> None:
    def leave(self: DatagramRecorder, *args: Any) -> None:
        self.calls.append(callback)
        getattr(self.transport, ending)()

    leaving = type("Leaving", (DatagramRecorder,), {callback: leave})
    with unix_pair(folder) as (ours, theirs):
        async with endpoint(sock=ours, factory=leaving) as protocol:
            if callback == "error_received":
                protocol.transport.sendto(bytes(1 << 24))
                assert protocol.transport.is_closing()
            # High enough for the 8 bytes that asyncio of 3.13.0 forgets with each datagram.
            protocol.transport.set_write_buffer_limits(high=20_000, low=20_000)
            fill(ours)
            for _ in range(25):
                if not protocol.transport.is_closing():
                    protocol.transport.sendto(bytes(1000))
            while not protocol.lost.done():
                drain(theirs)
                await asyncio.sleep(0)
            assert await protocol.lost is None
            assert protocol.calls.count(callback) == 1


endings = pytest.mark.parametrize("ending", ["close", "abort"])


@endings
@pytest.mark.parametrize("callback", ["error_received", "pause_writing"])
def test_closing_in_a_callback(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, callback: str, ending: str
) -> None:
    run(loop, close_in_callback(tmp_path, callback, ending))


@endings
@only_on("loopx")
def test_closing_in_resume_writing(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, ending: str
) -> None:
    """asyncio may call connection_lost a second time, on no protocol."""
    run(loop, close_in_callback(tmp_path, "resume_writing", ending))


def test_many_lives_of_one_number(loop: asyncio.AbstractEventLoop) -> None:
    """Each endpoint gets its own datagrams, though descriptors come again at once."""

    async def main() -> None:
        for number in range(100):
            async with endpoint(ANY_PORT) as server:
                async with endpoint(remote_addr=name_of(server)) as client:
                    client.transport.sendto(b"%d" % number)
                    if number % 2:
                        assert await server.datagrams(1) == [b"%d" % number]

    run(loop, main())


def test_a_loop_closed_under_its_endpoints(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    """What nobody closed warns when it is collected, and leaves no descriptor."""

    async def main() -> list[int]:
        ours, theirs = open_pair
        waiting = await loop.create_datagram_endpoint(DatagramRecorder, sock=ours)
        fill(ours)
        waiting[0].sendto(b"waits")
        idle = await loop.create_datagram_endpoint(DatagramRecorder, ANY_PORT)
        return [item[0].get_extra_info("socket").fileno() for item in (waiting, idle)]

    with unix_pair(tmp_path) as open_pair:
        numbers = run(loop, main())
        loop.close()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            gc.collect()
        texts = [str(warning.message) for warning in caught]
        assert sum(text.startswith("unclosed transport") for text in texts) == 2
        for number in numbers:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(number)


def test_dropped_and_collected(loop: asyncio.AbstractEventLoop) -> None:
    """An endpoint that is open stays alive without a reference to it."""

    async def main() -> None:
        received = loop.create_future()

        class Keeping(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                received.set_result(data)
                self.transport.close()

        async def open_it() -> Any:
            transport, _ = await loop.create_datagram_endpoint(Keeping, ANY_PORT)
            return transport.get_extra_info("sockname")

        name = await open_it()
        gc.collect()
        with udp_socket() as sock:
            sock.sendto(b"still there", name)
        assert await received == b"still there"
        await turns()

    run(loop, main())


def test_the_loop_stops_and_runs_again(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """What comes while nobody runs the loop waits in the socket; what waits to leave, leaves."""
    with unix_pair(tmp_path) as (ours, theirs):
        _, protocol = run(loop, loop.create_datagram_endpoint(DatagramRecorder, sock=ours))
        filled = fill(ours)
        protocol.transport.sendto(b"waits")
        run_turns(loop, 3)
        for number in range(5):
            theirs.send(b"%d" % number)
            run(loop, protocol.until(lambda number=number: len(protocol.received) > number))
        assert drain(theirs) == [b"f"] * filled
        assert run(loop, loop.sock_recv(theirs, 10)) == b"waits"
        assert [data for data, _ in protocol.received] == [b"0", b"1", b"2", b"3", b"4"]
        protocol.transport.close()
        run(loop, asyncio.wait([protocol.lost]))
