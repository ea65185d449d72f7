"""Flow control of datagram endpoints: what the socket has no room for waits, and is told of.

Owns: the queue, its size, the water marks, pause_writing and resume_writing.
Thread: the test's own.
Must not: use anything but a Unix socket, where the receiver's queue holds the sender back.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.datagrams import (
    DatagramRecorder,
    drain,
    endpoint,
    fill,
    unix_pair,
    unix_socket,
)
from tests.support.net import only_on, run, turns

HEADER_BYTES = 8 if sys.version_info >= (3, 13) else 0


@contextlib.asynccontextmanager
async def full(folder: Path) -> AsyncIterator[tuple[DatagramRecorder, socket.socket, int]]:
    """An endpoint whose socket takes no more, its receiver, and how many that one holds."""
    with unix_pair(folder) as (ours, theirs):
        async with endpoint(sock=ours) as protocol:
            yield protocol, theirs, fill(ours)


def test_what_waits_leaves_in_order(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        async with full(tmp_path) as (protocol, theirs, filled):
            sent = [b"%d" % number for number in range(200)]
            for data in sent:
                protocol.transport.sendto(data)
            assert protocol.transport.get_write_buffer_size() > 0
            received: list[bytes] = []
            while len(received) < filled + len(sent):
                received += drain(theirs)
                await asyncio.sleep(0)
            assert received == [b"f"] * filled + sent
            assert "pause_writing" not in protocol.calls

    run(loop, main())


def test_the_size_of_what_waits(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """Since 3.13 a datagram counts for 8 bytes more than it holds."""

    async def main() -> None:
        async with full(tmp_path) as (protocol, _, _):
            for size_bytes in (1, 100, 5):
                before = protocol.transport.get_write_buffer_size()
                protocol.transport.sendto(bytes(size_bytes))
                after = protocol.transport.get_write_buffer_size()
                assert after - before == size_bytes + HEADER_BYTES

    run(loop, main())


def test_a_mutable_buffer_that_waits_may_change(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    async def main() -> None:
        async with full(tmp_path) as (protocol, theirs, filled):
            data = bytearray(b"as it was")
            protocol.transport.sendto(data)
            data[:] = b"changed"
            del data
            assert drain(theirs) == [b"f"] * filled
            assert await loop.sock_recv(theirs, 100) == b"as it was"

    run(loop, main())


def test_pausing_and_resuming(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """Told once each: above the high mark, and when the low one is reached."""

    async def main() -> None:
        async with full(tmp_path) as (protocol, theirs, _):
            transport = protocol.transport
            transport.set_write_buffer_limits(high=1000, low=500)
            assert transport.get_write_buffer_limits() == (500, 1000)
            while "pause_writing" not in protocol.calls:
                assert transport.get_write_buffer_size() <= 1000
                transport.sendto(bytes(92))
            assert 1000 < transport.get_write_buffer_size() <= 1100
            transport.sendto(bytes(92))
            while "resume_writing" not in protocol.calls:
                drain(theirs)
                await asyncio.sleep(0)
            while transport.get_write_buffer_size() > 5 * HEADER_BYTES * 20:
                drain(theirs)
                await asyncio.sleep(0)
            flow = [name for name in protocol.calls if name.endswith("_writing")]
            assert flow == ["pause_writing", "resume_writing"]

    run(loop, main())


@only_on("loopx")
def test_the_size_goes_back_to_nothing(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """asyncio of 3.13.0 adds 8 bytes for each datagram that waits and never takes them off."""

    async def main() -> None:
        async with full(tmp_path) as (protocol, theirs, _):
            for _ in range(100):
                protocol.transport.sendto(b"x")
            while protocol.transport.get_write_buffer_size():
                drain(theirs)
                await asyncio.sleep(0)
            assert "bufsize=0" in repr(protocol.transport)

    run(loop, main())


def test_limits_set_below_what_waits(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        async with full(tmp_path) as (protocol, theirs, _):
            protocol.transport.sendto(bytes(5000))
            assert "pause_writing" not in protocol.calls
            protocol.transport.set_write_buffer_limits(high=100)
            assert protocol.calls[-1] == "pause_writing"
            with pytest.raises(ValueError, match="must be >="):
                protocol.transport.set_write_buffer_limits(high=1, low=2)
            drain(theirs)
            await protocol.until(lambda: "resume_writing" in protocol.calls)

    run(loop, main())


def test_sending_from_resume_writing(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """Until paused again, two times over."""

    class Refilling(DatagramRecorder):
        sent = 0

        def send_until_paused(self) -> None:
            pauses = self.calls.count("pause_writing")
            while self.calls.count("pause_writing") == pauses:
                self.transport.sendto(b"%1000d" % self.sent)
                self.sent += 1

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.calls.count("resume_writing") < 3:
                self.send_until_paused()

    async def main() -> None:
        with unix_pair(tmp_path) as (ours, theirs):
            async with endpoint(sock=ours, factory=Refilling) as protocol:
                # High enough for the 8 bytes that asyncio of 3.13.0 forgets with each datagram.
                protocol.transport.set_write_buffer_limits(high=20_000, low=10_000)
                protocol.send_until_paused()
                received: list[bytes] = []
                while protocol.calls.count("resume_writing") < 3 or len(received) < protocol.sent:
                    received += drain(theirs)
                    await asyncio.sleep(0)
                assert [int(data) for data in received] == list(range(protocol.sent))

    run(loop, main())


def test_an_error_of_one_that_waited(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """It is told, and what stands behind it goes on."""

    async def main() -> None:
        path = str(tmp_path / "theirs")
        with unix_socket(path) as theirs:
            async with endpoint(family=socket.AF_UNIX) as protocol:
                sock = protocol.transport.get_extra_info("socket")
                with unix_socket() as same:  # fills the receiver's queue, not our own
                    filled = fill(same, path)
                assert sock.family == socket.AF_UNIX
                protocol.transport.sendto(b"first", path)
                protocol.transport.sendto(b"lost", str(tmp_path / "nobody"))
                protocol.transport.sendto(b"lost, too", str(tmp_path / "nobody"))
                protocol.transport.sendto(b"last", path)
                assert protocol.errors == []
                assert drain(theirs) == [b"f"] * filled
                assert await loop.sock_recv(theirs, 10) == b"first"
                assert await loop.sock_recv(theirs, 10) == b"last"
                assert [type(error) for error in protocol.errors] == [FileNotFoundError] * 2

    run(loop, main())


def test_a_mistake_among_what_waits(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when it is sent at once: the endpoint is closed, and the rest dropped."""

    async def main() -> None:
        path = str(tmp_path / "theirs")
        with unix_socket(path) as theirs, unix_socket() as same:
            async with endpoint(family=socket.AF_UNIX) as protocol:
                filled = fill(same, path)
                for address in (path, None, path):
                    protocol.transport.sendto(b"x", address)
                assert drain(theirs) == [b"f"] * filled
                assert type(await protocol.lost) is TypeError
                assert drain(theirs) == [b"x"]
                assert protocol.transport.is_closing()

    run(loop, main())
    assert "Fatal write error on datagram transport" in caplog.text


def test_receiving_goes_on_meanwhile(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        async with full(tmp_path) as (protocol, theirs, _):
            protocol.transport.sendto(b"waits")
            for number in range(30):
                theirs.send(b"%d" % number)
                assert await protocol.datagrams(1) == [b"%d" % number]
            assert protocol.transport.get_write_buffer_size() > 0

    run(loop, main())


def test_many_endpoints_that_wait(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "theirs")
        async with contextlib.AsyncExitStack() as stack:
            theirs = stack.enter_context(unix_socket(path))
            options: Any = {"family": socket.AF_UNIX, "remote_addr": path}
            clients = [await stack.enter_async_context(endpoint(**options)) for _ in range(20)]
            with unix_socket() as same:
                filled = fill(same, path)
            for number, client in enumerate(clients):
                for _ in range(10):
                    client.transport.sendto(b"%d" % number)
            received: list[bytes] = []
            while len(received) < filled + 200:
                received += drain(theirs)
                await asyncio.sleep(0)
            assert sorted(received[filled:]) == sorted([b"%d" % n for n in range(20)] * 10)

    run(loop, main())
