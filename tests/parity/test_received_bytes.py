"""What data_received was given stays as it was, for as long as somebody keeps it.

Owns: messages of a size that comes again and again, of which some are kept, some hashed and
dropped, some sent back, on several connections at once; where bulk lies, and what it takes.
Runs on asyncio and on loopx.
"""

import asyncio
import contextlib
import ctypes
import random
import socket
import sys
import tracemalloc

import pytest

from tests.support.net import finish, only_on, run, serving, tcp_pair
from tests.support.recorders import Echo, Recorder
from tests.support.sanitizers import UNDER_ASAN
from tests.support.threads import HAS_GIL

places_can_be_chosen = pytest.mark.skipif(
    hasattr(sys, "gettotalrefcount") or UNDER_ASAN,
    reason="the allocators of debug builds and of the address sanitizer put all of a size alike",
)

ROUNDS = 60
CONNECTIONS = 5
BULK_BYTES = 100_000


class Keeper(Echo):
    """Keeps every third piece beside a copy, and the hash of each beside that of a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[bytes, bytearray]] = []
        self.hashes: list[tuple[int, int]] = []

    def data_received(self, data: bytes) -> None:
        copy = bytearray(data)
        self.hashes.append((hash(data), hash(bytes(copy))))
        if len(self.hashes) % 3 == 0:
            self.kept.append((data, copy))
        super().data_received(data)


@pytest.mark.parametrize(
    "sizes",
    [
        (700,), (1024,), (1024, 1025), (4096, 100, 4096), (5000,),
        (12_000,), (40_000,), (100_000, 9_000, 70_000), (200_000, 50),
    ],
)
def test_kept_bytes_do_not_change(loop: asyncio.AbstractEventLoop, sizes: tuple[int, ...]) -> None:
    keepers: list[Keeper] = []

    def keeper() -> Keeper:
        keepers.append(Keeper())
        return keepers[-1]

    async def exchange(client: Recorder, number: int) -> None:
        for step in range(ROUNDS):
            message = bytes([number, step]) * (sizes[step % len(sizes)] // 2)
            client.transport.write(message)
            assert await client.read(len(message)) == message

    async def main() -> None:
        async with serving(keeper) as served:
            opened = [
                await asyncio.get_running_loop().create_connection(Recorder, *served.address)
                for _ in range(CONNECTIONS)
            ]
            clients = [client for _, client in opened]
            await asyncio.gather(*(exchange(client, n) for n, client in enumerate(clients)))
            await finish(*clients)

    run(loop, main())
    assert len(keepers) == CONNECTIONS
    for each in keepers:
        assert len(each.kept) >= ROUNDS // 3
        assert all(data == copy for data, copy in each.kept)
        assert all(seen == right for seen, right in each.hashes)


@only_on("loopx")
@places_can_be_chosen
def test_bulk_is_received_where_the_processor_copies_quickly(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Not less than 32 bytes behind a page's start, where one in 256 objects' data would begin."""
    header_bytes = sys.getsizeof(b"") - 1
    rng = random.Random(3)
    kept: list[bytes] = []
    places: list[int] = []
    sender, receiver = tcp_pair()

    async def main() -> None:
        for _ in range(400):
            sending = asyncio.ensure_future(loop.sock_sendall(sender, bytes(200_000)))
            received = 0
            while received < 200_000:
                data = await loop.sock_recv(receiver, 300_000)
                received += len(data)
                if len(data) >= 150_000:           # fewer are handed out in a smaller object
                    places.append((id(data) + header_bytes) % 4096)
            await sending
            kept.extend([data, bytes(rng.randrange(600, 3000))])     # so that none lie in a row
            if len(kept) > 200:
                kept.pop(rng.randrange(100))

    with sender, receiver:
        run(loop, main())
    assert len(places) > 200
    assert not [place for place in places if place < 32]


class Places(asyncio.Protocol):
    """Knows where bulk lies that came in one piece, and keeps all or nothing of what comes."""

    def __init__(self, keeps: bool) -> None:
        self.keeps = keeps
        self.kept: list[bytes] = []
        self.places: list[int] = []
        self.received = 0

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        place = id(data) + sys.getsizeof(b"") - 1
        assert ctypes.c_char.from_address(place + len(data)).value == b"\0"
        if len(data) == BULK_BYTES:
            self.places.append(place)
        if self.keeps:
            self.kept.append(data)


async def receive_bulk(loop: asyncio.AbstractEventLoop, *protocols: Places) -> None:
    """Each protocol gets 200 messages, one after the other's."""
    with contextlib.ExitStack() as senders:
        connections = []
        for protocol in protocols:
            sender, receiver = tcp_pair()
            senders.enter_context(sender).setblocking(False)
            transport, _ = await loop.connect_accepted_socket(lambda p=protocol: p, receiver)
            connections.append((sender, transport, protocol))
        for number in range(1, 201):
            for sender, _, protocol in connections:
                await loop.sock_sendall(sender, b"x" * BULK_BYTES)
                while protocol.received < number * BULK_BYTES:
                    await asyncio.sleep(0)
        for _, transport, _ in connections:
            transport.close()
        await asyncio.sleep(0)


@only_on("loopx")
@pytest.mark.skipif(not HAS_GIL, reason="nobody knows whether bytes are shared")
@places_can_be_chosen
def test_bulk_that_nobody_keeps_lies_in_one_well_aligned_place(
    loop: asyncio.AbstractEventLoop,
) -> None:
    protocol = Places(keeps=False)
    run(loop, receive_bulk(loop, protocol))
    assert len(protocol.places) > 50
    settled = set(protocol.places[10:])
    assert len(settled) == 1
    assert not [place for place in settled if place % 64]


@only_on("loopx")
@pytest.mark.parametrize(("length", "remembered"), [(60_000, True), (8192, True), (8191, False)])
def test_a_closed_loop_lets_go_of_what_it_handed_out(
    loop: asyncio.AbstractEventLoop, length: int, remembered: bool
) -> None:
    async def main() -> bytes:
        sender, receiver = tcp_pair()
        with sender, receiver:
            receiver.setblocking(False)
            sender.sendall(b"x" * length)
            await asyncio.sleep(0.01)
            return await loop.sock_recv(receiver, 200_000)

    kept = run(loop, main())
    assert len(kept) == length
    before = sys.getrefcount(kept)
    loop.close()
    assert sys.getrefcount(kept) == before - (remembered and HAS_GIL)


@pytest.mark.parametrize("others", [0, 1])
def test_kept_bulk_takes_the_memory_of_what_came(
    loop: asyncio.AbstractEventLoop, others: int
) -> None:
    """A few pieces may be larger: nobody knew that they would be kept."""
    protocol = Places(keeps=True)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        run(loop, receive_bulk(loop, protocol, *[Places(keeps=False) for _ in range(others)]))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200 * BULK_BYTES + 1_000_000


@pytest.mark.parametrize("kept_count", [0, 3, 8])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_kept_bulk_leaves_nothing_in_the_socket_unnoticed(
    loop: asyncio.AbstractEventLoop, kept_count: int, family: int
) -> None:
    """While all that the loop lends is kept, it asks how much has come before it receives."""
    lengths = [8191, 8192, 8193, 20_000, 65_536, 80_000, *[100_000] * 4, 9_000]
    asked = [262_144, 70_000, 9_000]

    async def main() -> None:
        kept: list[tuple[bytes, bytes]] = []
        sender, receiver = tcp_pair() if family == socket.AF_INET else socket.socketpair()
        with sender, receiver:
            receiver.setblocking(False)
            for number in range(120):
                message = random.Random(number).randbytes(lengths[number % len(lengths)])
                sender.sendall(message)
                received = b""
                while len(received) < len(message):
                    data = await loop.sock_recv(receiver, asked[number % len(asked)])
                    assert 0 < len(data) <= asked[number % len(asked)]
                    received += data
                    if kept_count:
                        kept = [*kept[-kept_count:], (data, bytes(bytearray(data)))]
                assert received == message
            assert all(data == copy for data, copy in kept)
            sender.close()
            assert await loop.sock_recv(receiver, 262_144) == b""

    run(loop, main())
