"""Pieces that are sent as they lie, and batches that leave before their turn ends.

Owns: what loopx/transports/gathering.pxi and BaseLoop.send_batch() promise: every byte once and in
order, whatever the sizes of pieces, a full socket or an end in the middle.
Thread: the test's own; the peer reads in a worker thread where it is much.
"""

import asyncio
import contextlib
import random
import tracemalloc

import pytest

from tests.support.net import only_on, run, small_send_buffer, tcp_pair, turns, with_peer
from tests.support.payload import digest, pattern
from tests.support.pipes import digest_to_eof, write_pipe
from tests.support.recorders import Recorder

SIZES = (1, 200, 4_000, 9_000, 20_000, 70_000, 550_000)      # the last more than a call sends
CALL_BYTES_MAX = 8 * 65408


def pieces_of(seed):
    chance = random.Random(seed)
    count = chance.choice([2, 3, 31, 32, 60])
    data = pattern(sum(sizes := [chance.choice(SIZES) for _ in range(count)]))
    return [data[sum(sizes[:at]):sum(sizes[:at + 1])] for at in range(count)]


async def others(stack, count):
    """So many more connections, with which writes are batched: (transport, peer's socket) each."""
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(count):
        peer, ours = tcp_pair()
        peer.setblocking(False)
        stack.callback(peer.close)
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
        stack.callback(transport.abort)
        made.append((transport, peer))
    await turns()
    return made


@pytest.mark.parametrize("way", ["writelines", "write"])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_pieces_of_any_size_arrive_in_order(loop, seed, narrow, alone, way):
    pieces = pieces_of(seed)

    async def main():
        with contextlib.ExitStack() as stack:
            if not alone:
                await others(stack, 8)
            async with with_peer(Recorder) as (protocol, peer):
                if narrow:
                    small_send_buffer(protocol.transport.get_extra_info("socket"))
                if way == "writelines":
                    protocol.transport.writelines(pieces)
                else:
                    for piece in pieces:
                        protocol.transport.write(piece)
                await asyncio.sleep(0)
                protocol.transport.writelines(pieces)
                protocol.transport.close()
                assert await peer.recv_to_eof() == 2 * b"".join(pieces)
                assert await protocol.lost is None
        await turns()

    run(loop, main())


@pytest.mark.parametrize("seed", range(6))
def test_pieces_in_a_pipe(loop, seed):
    pieces = pieces_of(seed)

    async def main():
        async with write_pipe() as (protocol, reader):
            read = asyncio.create_task(asyncio.to_thread(digest_to_eof, reader))
            for _ in range(5):
                protocol.transport.writelines(pieces)
                await asyncio.sleep(0)
            protocol.transport.close()
            whole = 5 * b"".join(pieces)
            assert await read == (len(whole), digest(whole))

    run(loop, main())


@pytest.mark.parametrize("end", ["abort", "close", "write_eof"])
def test_an_end_right_after_pieces(loop, end):
    """They may be in flight then: memory that the kernel was lent stays."""
    async def main():
        with contextlib.ExitStack() as stack:
            made = await others(stack, 20)
            for round_number in range(3):
                for transport, _ in made:
                    transport.writelines([bytes(5_000), bytes(20_000), b"x" * 300])
                if round_number == 1:
                    await asyncio.sleep(0)
            for transport, _ in made:
                getattr(transport, end)()
            await turns(20)
        await turns()

    run(loop, main())


@pytest.mark.parametrize("room", [0, 4096])
def test_pieces_of_many_connections_in_one_batch(loop, room):
    """Each has what it names in memory of its own until the kernel has taken it."""
    async def main():
        with contextlib.ExitStack() as stack:
            made = await others(stack, 20)
            sent = []
            for number, (transport, _) in enumerate(made):
                if room:
                    small_send_buffer(transport.get_extra_info("socket"))
                whole = pattern(1_000_000)[number * 1_000:number * 1_000 + 18_300]
                transport.writelines([whole[:300], whole[300:6_000], whole[6_000:]])
                sent.append(whole)
            for (transport, peer), whole in zip(made, sent, strict=True):
                transport.close()
                got = bytearray()
                while piece := await loop.sock_recv(peer, 1 << 20):
                    got += piece
                assert bytes(got) == whole
        await turns()

    run(loop, main())


@only_on("loopx")
def test_pieces_are_sent_as_they_lie(loop):
    """Not joined: no memory is asked for to hold them together. asyncio may join them."""
    async def main():
        with contextlib.ExitStack() as stack:
            made = await others(stack, 8)
            pieces = [bytes(20_000), bytes(30_000)]
            tracemalloc.start()
            stack.callback(tracemalloc.stop)
            before, _ = tracemalloc.get_traced_memory()
            for transport, _ in made:
                transport.writelines(pieces)
            await turns()
            assert tracemalloc.get_traced_memory()[1] - before < 40_000
            for _, peer in made:
                assert len(await loop.sock_recv(peer, 100_000)) == 50_000
        await turns()

    run(loop, main())


@only_on("loopx")
@pytest.mark.parametrize("sizes", [[1 << 20], [300_000] * 4, [1_000_000, 100, 100_000]])
def test_no_call_sends_more_than_eight_segments(loop, sizes):
    """Of more the kernel makes a transfer that waits for timers. asyncio sends all at once."""
    async def main():
        async with with_peer(Recorder) as (protocol, peer):
            read = asyncio.create_task(peer.recv_to_eof())
            before = loop.stats()["system_calls"]
            protocol.transport.writelines([bytes(size) for size in sizes])
            sent = sum(sizes) - protocol.transport.get_write_buffer_size()
            assert sent
            assert loop.stats()["system_calls"] - before >= sent / CALL_BYTES_MAX
            if sent == sum(sizes):             # and each but the last that much
                assert loop.stats()["system_calls"] - before == -(-sent // CALL_BYTES_MAX)
            protocol.transport.close()
            assert len(await read) == sum(sizes)

    run(loop, main())


@only_on("loopx")
def test_what_waits_for_room_ends_no_batch(loop):
    """asyncio has none."""
    async def main():
        with contextlib.ExitStack() as stack:
            made = await others(stack, 30)
            before = loop.stats()["enters"]
            for transport, _ in made:
                transport.write(bytes(9_000_000))          # more than it takes
            assert loop.stats()["enters"] - before <= 2
        await turns()

    run(loop, main())


@only_on("loopx")
def test_a_backlog_of_small_pieces_is_no_burden(loop):
    """Joined, not taken from the list one by one. asyncio sends each at once."""
    async def main():
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.set_write_buffer_limits(1 << 30)
            pieces = [bytes(2_000)] * 200_000
            began = loop.time()
            read = asyncio.create_task(peer.recv_to_eof())
            protocol.transport.writelines(pieces)
            protocol.transport.close()
            assert len(await read) == 400_000_000
            return loop.time() - began

    assert run(loop, main()) < 30


@only_on("loopx")
def test_a_batch_leaves_before_it_takes_much_memory(loop):
    """asyncio sends at once. The transports' own count says what is kept."""
    async def main():
        with contextlib.ExitStack() as stack:
            made = await others(stack, 100)
            before = loop.stats()["enters"]
            for transport, _ in made:
                transport.write(bytes(20_000))
                kept = sum(each.get_write_buffer_size() for each, _ in made)
                assert kept <= 262_144 + 20_000
            assert 5 <= loop.stats()["enters"] - before <= 10
            await turns()
            for _, peer in made:
                assert len(await loop.sock_recv(peer, 100_000)) == 20_000
        await turns()

    run(loop, main())


@only_on("loopx")
def test_a_batch_meets_sockets_that_are_full(loop):
    """What finds no room waits for it, and the rest of the batch does not. asyncio has none."""
    data = pattern(3_000_000)

    async def main():
        with contextlib.ExitStack() as stack:
            made = await others(stack, 30)
            for transport, _ in made:
                transport.set_write_buffer_limits(1 << 30)
            for at in range(0, len(data), 30_000):
                for transport, _ in made:
                    transport.write(data[at:at + 30_000])
            for transport, _ in made:
                transport.close()
            for _, peer in made:
                got = bytearray()
                while piece := await loop.sock_recv(peer, 1 << 20):
                    got += piece
                assert bytes(got) == data
        await turns()

    run(loop, main())
