"""Many TLS records that come in together.

Owns: what loopx/transports/tls.pxi with_what_follows() makes of them, and what ends such a run.
Thread: the test's own; the peer's socket is called in worker threads.
"""

import asyncio
import ssl
import tracemalloc

import pytest

from tests.support import certs
from tests.support.net import capture_errors, connected, run
from tests.support.payload import digest, pattern
from tests.support.recorders import Echo, Recorder
from tests.support.tls_wire import against_wire

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
RECORD_BYTES = 16384
SIZES = {
    "tiny": [1] * 500,
    "whole": [RECORD_BYTES] * 20,
    "of every size": [1, RECORD_BYTES, 2, 4_096, RECORD_BYTES - 1, 30, 10_000],
    "one": [RECORD_BYTES],
    "one and a little": [RECORD_BYTES, 1],
}


class Pieces(Recorder):
    """Keeps each piece as it came."""

    def __init__(self):
        super().__init__()
        self.pieces = []

    def data_received(self, data):
        self.pieces.append(data)
        super().data_received(data)


def records_of(wire, sizes):
    """The data, and a record for each size."""
    data = pattern(sum(sizes))
    rest, encrypted = data, []
    for size in sizes:
        encrypted.append(wire.encrypted(rest[:size]))
        rest = rest[size:]
    return data, b"".join(encrypted)


async def shaken_hands(connecting, wire):
    await wire.shake_hands()
    await connecting


@VERSIONS
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_records_of_any_size_arrive_and_stay(loop, version, sizes):
    async def main():
        protocol = Pieces()
        async with against_wire(protocol, server_side=True, version=version) as (connecting, wire):
            await shaken_hands(connecting, wire)
            expected = b""
            for _ in range(5):                 # later ones must not change earlier ones
                data, encrypted = records_of(wire, sizes)
                expected += data
                await wire.peer.send(encrypted)
                await protocol.received(len(expected))
            assert digest(b"".join(protocol.pieces)) == digest(expected)
            assert {type(piece) for piece in protocol.pieces} == {bytes}
            protocol.transport.abort()

    run(loop, main())


def test_what_came_is_held_in_no_more_memory_than_it_takes(loop):
    """A record of one byte comes in 23."""
    times, size = 50, 1_000

    async def main():
        protocol = Pieces()
        async with against_wire(protocol, server_side=True) as (connecting, wire):
            await shaken_hands(connecting, wire)
            encrypted = [records_of(wire, [1] * size)[1] for _ in range(times)]
            tracemalloc.start()
            try:
                for count, records in enumerate(encrypted, 1):
                    await wire.peer.send(records)
                    await protocol.received(count * size)
                held_bytes, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert len(protocol.pieces) < times * size / 10       # they were put together
            assert held_bytes < 8 * times * size                  # `buffer` holds all of it, too
            protocol.transport.abort()

    run(loop, main())


@VERSIONS
def test_the_last_word_behind_many_records(loop, version):
    async def main():
        protocol = Pieces()
        async with against_wire(protocol, server_side=True, version=version) as (connecting, wire):
            await shaken_hands(connecting, wire)
            data, encrypted = records_of(wire, SIZES["of every size"])
            with pytest.raises(ssl.SSLWantReadError):
                wire.tls.unwrap()
            await wire.peer.send(encrypted + wire.outgoing.read())
            await protocol.ended                           # the peer's side of TCP stays open
            wire.peer.half_close()
            assert await protocol.lost is None
        assert protocol.buffer == data
        assert protocol.calls == [
            "connection_made", "data_received", "eof_received", "connection_lost",
        ]

    run(loop, main())


def test_a_damaged_record_behind_good_ones(loop):
    async def main():
        errors = capture_errors(loop)
        protocol = Pieces()
        async with against_wire(protocol, server_side=True) as (connecting, wire):
            await shaken_hands(connecting, wire)
            data, encrypted = records_of(wire, [RECORD_BYTES, RECORD_BYTES, 100])
            await wire.peer.send(encrypted[:-1] + bytes([encrypted[-1] ^ 1]))
            assert isinstance(await protocol.lost, ssl.SSLError)
        assert data.startswith(protocol.buffer)           # asyncio hands out none of such a run
        assert errors == []                               # the protocol is told, nobody else

    run(loop, main())


def test_a_pause_between_two_runs(loop):
    class Pausing(Pieces):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async def main():
        protocol = Pausing()
        async with against_wire(protocol, server_side=True) as (connecting, wire):
            await shaken_hands(connecting, wire)
            protocol.transport.pause_reading()
            expected = b""
            for _ in range(3):
                data, encrypted = records_of(wire, SIZES["of every size"])
                expected += data
                await wire.peer.send(encrypted)
                await asyncio.sleep(0.05)
                assert protocol.pieces == []               # it is paused since the last piece
                while protocol.received_bytes < len(expected):
                    before = len(protocol.pieces)
                    protocol.transport.resume_reading()
                    await protocol.received(protocol.received_bytes + 1)
                    assert len(protocol.pieces) <= before + 1
                assert b"".join(protocol.pieces) == data
                protocol.pieces.clear()
            protocol.transport.abort()

    run(loop, main())


class OwnTLS(ssl.SSLObject):
    """A class for SSLContext.sslobject_class, which could keep the memory it is given."""

    calls = []

    def read(self, *arguments):
        OwnTLS.calls.append(("read", *arguments))
        return super().read(*arguments)

    def write(self, data):
        OwnTLS.calls.append(("write", len(data)))
        return super().write(data)


def test_methods_of_a_class_of_ones_own_are_called_and_lent_no_memory(loop, monkeypatch):
    monkeypatch.setattr(OwnTLS, "calls", [])
    context = certs.client_context()
    context.sslobject_class = OwnTLS

    async def main():
        async with connected(Pieces, Echo, **(certs.both_ends() | {"ssl": context})) as (client, _):
            data = pattern(200_000)
            client.transport.write(data)
            await client.received(len(data))
            assert b"".join(client.pieces) == data
            reads = [arguments for name, *arguments in OwnTLS.calls if name == "read"]
            assert len(reads) >= len(data) // RECORD_BYTES
            assert {len(arguments) for arguments in reads} == {1}     # a size, and no buffer
            assert any(name == "write" for name, *_ in OwnTLS.calls)

    run(loop, main())
