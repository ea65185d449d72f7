"""What data_received was given stays as it was, for as long as somebody keeps it.

Owns: messages of a size that comes again and again, of which some are kept, some hashed and
dropped, some sent back, on several connections at once.
Runs on asyncio and on loopx.
"""

import asyncio
import random
import sys

import pytest

from tests.support.net import finish, only_on, run, serving, tcp_pair
from tests.support.recorders import Echo, Recorder

ROUNDS = 60
CONNECTIONS = 5


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


@pytest.mark.parametrize("sizes", [(700,), (1024,), (1024, 1025), (4096, 100, 4096), (5000,)])
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
        for _ in range(1_000):
            await loop.sock_sendall(sender, bytes(60_000))
            received = 0
            while received < 60_000:
                data = await loop.sock_recv(receiver, 66_000)
                received += len(data)
                if len(data) > 33_000:             # fewer are handed out in a smaller object
                    places.append((id(data) + header_bytes) % 4096)
            kept.extend([data, bytes(rng.randrange(600, 3000))])     # so that none lie in a row
            if len(kept) > 200:
                kept.pop(rng.randrange(100))

    with sender, receiver:
        run(loop, main())
    assert len(places) > 500
    assert not [place for place in places if 0 < place < 32]
