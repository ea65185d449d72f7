"""Writes over TLS that leave by several calls, while the rest is being encrypted.

Owns: what loopx/transports/tls.pxi write_in_pieces() promises when something happens between two
of them.
Thread: the test's own, which both ends share.
"""

import asyncio
import logging
import os
import signal
import socket
import tracemalloc

import pytest

from tests.support import certs
from tests.support.net import connected, only_on, run
from tests.support.payload import MIB, digest, pattern
from tests.support.recorders import Recorder

PIECE_BYTES = 3 * 16384                  # encrypted at once; ten pieces leave by one call


@pytest.mark.parametrize("pieces", [1, 2, 10, 11, 20, 21])
@pytest.mark.parametrize("more_bytes", [-1, 0, 1])
def test_every_byte_arrives_where_pieces_and_calls_end(loop, pieces, more_bytes):
    async def main():
        async with connected(Recorder, Recorder, **certs.both_ends()) as (client, server):
            data = pattern(pieces * PIECE_BYTES + more_bytes)
            client.transport.write(data)
            client.transport.write(b"end")
            await asyncio.wait_for(server.received(len(data) + 3), 20)
            assert digest(server.buffer) == digest(data + b"end")

    run(loop, main())


@only_on("loopx")
def test_ten_pieces_leave_by_one_call(loop):
    """asyncio hands on what it has encrypted at once."""

    class Recording:
        def __init__(self, transport):
            self.transport = transport
            self.calls = []

        def __getattr__(self, name):
            return getattr(self.transport, name)

        def writelines(self, pieces):
            self.calls.append(len(pieces))
            self.transport.writelines(pieces)

    async def main():
        async with connected(Recorder, Recorder, **certs.both_ends()) as (client, server):
            protocol = client.transport._ssl_protocol
            lower, recording = protocol._transport, Recording(protocol._transport)
            protocol._transport = recording
            client.transport.write(bytes(11 * PIECE_BYTES))
            protocol._transport = lower
            assert recording.calls == [10, 1]
            await server.received(11 * PIECE_BYTES)

    run(loop, main())


@only_on("loopx")
def test_what_has_left_takes_no_memory(loop):
    """asyncio encrypts all before it sends anything."""

    async def main():
        async with connected(Recorder, Recorder, **certs.both_ends()) as (client, server):
            data = bytes(MIB)
            client.transport.write(data)               # what is allocated once
            await server.received(MIB)
            tracemalloc.start()
            try:
                client.transport.write(data)
                unsent_bytes = client.transport._ssl_protocol._transport.get_write_buffer_size()
                assert tracemalloc.get_traced_memory()[1] < 700_000 + unsent_bytes
            finally:
                tracemalloc.stop()
            await server.received(2 * MIB)

    run(loop, main())


def test_a_peer_that_is_gone_is_met_once(loop, caplog):
    async def main():
        async with connected(Recorder, Recorder, **certs.both_ends()) as (client, _):
            fd = os.dup(client.transport.get_extra_info("socket").fileno())
            with socket.socket(fileno=fd) as ours:
                ours.shutdown(socket.SHUT_WR)
            client.transport.write(bytes(16 * MIB))
            assert isinstance(await client.lost, BrokenPipeError | None)

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(loop, main())
    assert caplog.records == []


def test_an_interrupt_between_two_calls_loses_nothing(loop):
    async def main():
        data = pattern(12 * MIB)
        async with connected(Recorder, Recorder, **certs.both_ends()) as (client, server):
            protocol = client.transport._ssl_protocol
            pause_writing = protocol.pause_writing

            def interrupted():
                pause_writing()
                raise KeyboardInterrupt

            protocol.pause_writing = interrupted
            with pytest.raises(KeyboardInterrupt):
                client.transport.write(data)
            protocol.pause_writing = pause_writing
            await asyncio.wait_for(server.received(len(data)), 20)
            client.transport.write(b"end")
            await asyncio.wait_for(server.received(len(data) + 3), 20)
            assert digest(server.buffer) == digest(data + b"end")

    run(loop, main())


@only_on("loopx")
def test_a_signal_while_it_encrypts_loses_nothing(loop):
    """asyncio sends what was encrypted twice."""
    interrupted = []

    async def main():
        data = pattern(24 * MIB)
        async with connected(Recorder, Recorder, **certs.both_ends()) as (client, server):
            lower = client.transport._ssl_protocol._transport

            def interrupt(_, frame):
                # Not in asyncio's pause_writing(), before that has noted the pause.
                in_native_code = frame.f_code.co_name == "main"
                if in_native_code and lower.get_write_buffer_size() and not interrupted:
                    interrupted.append(True)
                    raise KeyboardInterrupt

            before = signal.signal(signal.SIGALRM, interrupt)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
                with pytest.raises(KeyboardInterrupt):
                    client.transport.write(data)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
            await asyncio.wait_for(server.received(len(data)), 20)
            client.transport.write(b"end")
            await asyncio.wait_for(server.received(len(data) + 3), 20)
            assert digest(server.buffer) == digest(data + b"end")

    run(loop, main())
