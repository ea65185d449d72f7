"""Peers that reset, vanish, dribble or stall: the loop serves everybody else.

Owns: hostile TCP peers, one by one, in bursts, and ten thousand that stall.
Thread: the test's own; the server of the stall test is a process of its own.
Must not: lower or keep raised any limit of the process that runs the tests.
"""

import asyncio
import contextlib
import json
import resource
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.net import Peer, dial, echo_once, run, serving, turns, with_peer
from tests.support.payload import MIB, digest, pattern
from tests.support.recorders import (
    BufferedRecorder,
    HalfOpenRecorder,
    Recorder,
    RecordingProtocol,
    Registry,
)
from tests.support.scripts import running_script

STALLED = 10_000


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
def test_reset_after_data(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol]
) -> None:
    async def main() -> None:
        for _ in range(20):
            async with with_peer(factory) as (protocol, peer):
                await peer.send(b"x")
                await protocol.received(1)
                peer.reset()
                assert isinstance(await protocol.lost, ConnectionResetError)

    run(loop, main())


def test_reset_while_reading_is_paused(loop: asyncio.AbstractEventLoop) -> None:
    """Reported at the latest when reading goes on."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.pause_reading()
            peer.reset()
            await turns()
            protocol.transport.resume_reading()
            assert isinstance(await protocol.lost, ConnectionResetError)

    run(loop, main())


def test_reset_while_much_is_pending(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for _ in range(10):
            async with with_peer(Recorder) as (protocol, peer):
                protocol.transport.write(b"x" * 16 * MIB)
                await peer.recv(1000)
                peer.reset()
                assert isinstance(await protocol.lost, ConnectionError)
                assert protocol.transport.get_write_buffer_size() == 0

    run(loop, main())


def test_reset_while_closing(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.write(b"x" * 16 * MIB)
            protocol.transport.close()
            await peer.recv(1000)
            peer.reset()
            assert isinstance(await protocol.lost, ConnectionError)
            assert protocol.calls.count("connection_lost") == 1

    run(loop, main())


def test_half_close_with_much_to_receive(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(8 * MIB)
        async with with_peer(HalfOpenRecorder) as (protocol, peer):
            await peer.send(b"GET\n")
            peer.half_close()
            await protocol.ended
            protocol.transport.write(data)
            protocol.transport.close()
            assert (await peer.digest_to_eof())[:2] == (len(data), digest(data))
            assert await protocol.lost is None

    run(loop, main())


def test_one_byte_at_a_time(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(3000)
        async with with_peer(Recorder) as (protocol, peer):
            peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(len(data)):
                peer.sock.send(data[number : number + 1])
                if number % 10 == 0:
                    await asyncio.sleep(0)
            await protocol.received(len(data))
            assert protocol.buffer == data

    run(loop, main())


def test_urgent_data_does_not_disturb(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            for _ in range(20):
                peer.sock.send(b"a")
                peer.sock.send(b"!", socket.MSG_OOB)
                peer.sock.send(b"b")
                assert await protocol.read(2) == b"ab"

    run(loop, main())


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("greeting", [b"", b"hello"])
def test_a_burst_of_peers_that_vanish(
    loop: asyncio.AbstractEventLoop, greeting: bytes, ending: str
) -> None:
    async def main() -> None:
        registry = Registry()
        async with serving(registry, backlog=600) as served:
            peers = [Peer(socket.create_connection(served.address)) for _ in range(300)]
            for number, peer in enumerate(peers):
                if greeting:
                    peer.sock.send(greeting)
                getattr(peer, ending)()
                if number % 50 == 0:
                    await asyncio.sleep(0)
            client = await dial(served.address)
            await echo_once(client)  # accepted after all of them
            for protocol in registry.protocols[:-1]:
                error = await protocol.lost
                assert error is None or isinstance(error, ConnectionError)
            assert len(registry.protocols) == 301
            client.transport.close()
            await registry.protocols[-1].lost
            await client.lost

    run(loop, main())


STALL_SERVER = """
import json, os

class Server(asyncio.Protocol):
    live = set()
    paused = made = lost = 0
    asked = False

    def connection_made(self, transport):
        self.transport = transport
        Server.live.add(self)
        Server.made += 1

    def data_received(self, data):
        self.asked = data.endswith(b"\\n")
        if data == b"stats\\n":
            counts = {"live": len(Server.live), "made": Server.made, "lost": Server.lost,
                      "paused": Server.paused, "descriptors": len(os.listdir("/proc/self/fd"))}
            self.transport.write(json.dumps(counts).encode() + b"\\n")
        elif data == b"flood\\n":
            victims = [protocol for protocol in Server.live if not protocol.asked][:50]
            for protocol in victims:
                protocol.transport.write(FLOOD)
            self.transport.write(b"flooded\\n")
        elif data == b"echo\\n":
            self.transport.write(data)
        elif data == b"quit\\n":
            done.set()

    def pause_writing(self):
        Server.paused += 1

    def connection_lost(self, exc):
        Server.live.discard(self)
        Server.lost += 1

async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await done.wait()
    server.close()
    await server.wait_closed()

FLOOD = b"f" * (8 << 20)
done = asyncio.Event()
import resource
hard = max(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 10500)
resource.setrlimit(resource.RLIMIT_NOFILE, (10500, hard))
loop = new_loop()
loop.run_until_complete(main())
loop.close()
print("closed", flush=True)
"""


@contextlib.contextmanager
def descriptors(count: int) -> Iterator[None]:
    """Allow this process `count` descriptors; skips the test where that is forbidden."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), max(hard, count)))
    except (ValueError, PermissionError):
        pytest.skip(f"needs {count} descriptors, the limit is {hard}")
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, PermissionError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Control:
    """A blocking client that asks the server about itself."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=20)
        self.lines = self.sock.makefile("rb")

    def ask(self, command: bytes) -> bytes:
        self.sock.sendall(command + b"\n")
        return self.lines.readline().rstrip()

    def stats(self) -> dict[str, int]:
        return dict(json.loads(self.ask(b"stats")))

    def wait_for(self, **wanted: Any) -> dict[str, int]:
        """Ask until the counts are these; each question is a round trip, so nothing spins."""
        while True:
            stats = self.stats()
            if all(stats[name] == value for name, value in wanted.items()):
                return stats

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


def test_ten_thousand_connections_that_stall(loop_kind: str) -> None:
    """About five seconds on asyncio's loop.  Others are served, and all is given back."""
    with descriptors(STALLED + 500), running_script(loop_kind, STALL_SERVER) as server:
        assert server.stdout is not None
        address = ("127.0.0.1", int(server.stdout.readline()))
        control = Control(address)
        baseline = control.stats()
        stalled = []
        for _ in range(STALLED):
            sock = socket.create_connection(address)
            sock.send(b"half a requ")
            stalled.append(sock)
        control.wait_for(live=STALLED + 1, made=STALLED + 1)
        fresh = Control(address)
        for _ in range(200):
            assert fresh.ask(b"echo") == b"echo"
        assert control.ask(b"flood") == b"flooded"
        assert control.wait_for(paused=50)["live"] == STALLED + 2
        for _ in range(200):
            assert fresh.ask(b"echo") == b"echo"
        linger = struct.pack("ii", 1, 0)
        for number, sock in enumerate(stalled):
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.close()
        fresh.close()
        stats = control.wait_for(live=1)
        assert stats["lost"] == STALLED + 1
        assert stats["descriptors"] == baseline["descriptors"]
        control.sock.sendall(b"quit\n")
        control.close()
        assert server.stdout.readline() == "closed\n"
        assert server.wait(timeout=20) == 0
