"""Writes with next to no connections: sent in write() itself, unless they come in pieces.

Owns: what a peer can read while the writing callback still runs, and the order over turns.
Thread: the test's own; the peer's socket is read without waiting.
Must not: wait for the peer, which would let the loop send what is unsent.
"""

import asyncio
import contextlib
import socket

import pytest

from tests.support.net import TIMEOUT_S, Peer, only_on, run, turns, with_peer
from tests.support.recorders import Recorder


def received_now(peer: Peer) -> bytes:
    """What has arrived, or nothing; does not wait."""
    peer.sock.settimeout(0)
    try:
        return peer.sock.recv(100)
    except BlockingIOError:
        return b""


async def pieces_of_an_answer(protocol: Recorder, peer: Peer) -> list[bytes]:
    protocol.transport.write(b"head")
    protocol.transport.write(b"body")
    found = [received_now(peer)]
    await turns(2)
    return [*found, received_now(peer)]


def test_a_lone_write_leaves_during_the_call(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            for text in (b"first", b"second", b"third"):
                protocol.transport.write(text)
                assert protocol.transport.get_write_buffer_size() == 0
                assert received_now(peer) == text
                await turns(2)

    run(loop, main())


@only_on("loopx")
def test_an_answer_in_pieces_leaves_together(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio sends each piece alone; here the last one takes the others along from then on."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            assert await pieces_of_an_answer(protocol, peer) == [b"head", b"body"]
            for _ in range(3):
                assert await pieces_of_an_answer(protocol, peer) == [b"headbody", b""]
            protocol.transport.write(b"alone")
            assert protocol.transport.get_write_buffer_size() == len(b"alone")
            await turns(2)
            assert received_now(peer) == b"alone"
            protocol.transport.write(b"at once")
            assert received_now(peer) == b"at once"

    run(loop, main())


def test_nothing_overtakes_what_the_socket_has_no_room_for(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            sent = bytearray()
            while protocol.transport.get_write_buffer_size() == 0:
                piece = len(sent).to_bytes(4, "big") * 4096
                protocol.transport.write(piece)
                sent += piece
                await turns(2)
            for number in range(10):
                protocol.transport.write(bytes([number]) * 100)
                sent += bytes([number]) * 100
            peer.sock.settimeout(TIMEOUT_S)
            assert await peer.recv_exactly(len(sent)) == sent

    run(loop, main())


@pytest.mark.parametrize("connections", [1, 20])
def test_while_the_loop_does_not_run(loop: asyncio.AbstractEventLoop, connections: int) -> None:
    """The loop may be closed next, and what is written must not be lost then."""

    async def connect(sock: socket.socket) -> asyncio.Transport:
        sock.setblocking(False)
        return (await loop.create_connection(Recorder, sock=sock))[0]

    with contextlib.ExitStack() as rest:
        transports = []
        for _ in range(connections):
            ours, theirs = socket.socketpair()
            rest.enter_context(theirs)
            transports.append(loop.run_until_complete(connect(ours)))
        for transport in transports:
            transport.write(b"one")
            transport.write(b"two")
            transport.writelines([b"three", b"four"])
        theirs.settimeout(TIMEOUT_S)
        assert theirs.recv(100) == b"onetwothreefour"
        for transport in transports:
            transport.abort()
        loop.run_until_complete(turns(2))
