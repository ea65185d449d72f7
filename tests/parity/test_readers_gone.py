"""Descriptors closed behind the loop's back, while watched or under a transport.

The application is wrong to do so; the loop must neither crash nor hang, must go on serving the
rest, and must not touch whatever gets the number next.  Runs on asyncio and on loopx.
"""

import asyncio
import os
import socket

import pytest

from tests.support.loops import run_on_until, run_turns
from tests.support.net import Peer, capture_errors, only_on, run, serving, tcp_pair, turns
from tests.support.recorders import Echo, Recorder


def run_for(loop, duration_s=0.02):
    loop.call_later(duration_s, loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("turns_before", [0, 3])
def test_a_watched_descriptor_is_closed_and_the_loop_goes_on(loop, turns_before):
    read_end, write_end = os.pipe()
    seen = []
    loop.add_reader(read_end, seen.append, 1)
    run_turns(loop, turns_before)
    os.close(read_end)
    os.close(write_end)
    assert loop.run_until_complete(asyncio.sleep(0.01, "goes on")) == "goes on"
    loop.remove_reader(read_end)
    assert loop.remove_reader(read_end) is False


@pytest.mark.parametrize("turns_before", [0, 3])
def test_the_loop_can_be_closed_with_a_watched_descriptor_that_is_gone(loop_factory, turns_before):
    loop = loop_factory()
    read_end, write_end = os.pipe()
    loop.add_reader(read_end, print)
    loop.add_writer(write_end, int)
    run_turns(loop, turns_before)
    os.close(read_end)
    os.close(write_end)
    loop.close()


@pytest.mark.parametrize("turns_before", [0, 3])
def test_the_number_can_be_watched_again_after_removal(loop, turns_before):
    read_end, write_end = os.pipe()
    old, new = [], []
    loop.add_reader(read_end, old.append, 1)
    run_turns(loop, turns_before)
    os.close(read_end)
    os.close(write_end)
    loop.remove_reader(read_end)
    again, write_again = os.pipe()
    try:
        assert again == read_end, "the kernel gives the lowest number that is free"
        loop.add_reader(again, lambda: new.append(os.read(again, 10)))
        run_turns(loop, 3)
        os.write(write_again, b"new")
        run_on_until(loop, lambda: new)
        assert (old, new) == ([], [b"new"])
        assert loop.remove_reader(again) is True
    finally:
        os.close(again)
        os.close(write_again)


def test_removed_before_the_number_is_taken_by_something_unwatched(loop):
    ours, theirs = socket.socketpair()
    seen = []
    loop.add_reader(ours, seen.append, 1)
    run_turns(loop, 3)
    number = ours.fileno()
    loop.remove_reader(ours)
    ours.close()
    with theirs:
        read_end, write_end = os.pipe()
        assert number in (read_end, write_end)
        os.write(write_end, b"x")
        run_for(loop)
        os.close(read_end)
        os.close(write_end)
    assert seen == []


def connect_pair(loop, factory=Recorder):
    """A transport over one end, whose socket object stays in our hands; and the other end."""

    async def connect():
        ours, theirs = tcp_pair()
        transport, protocol = await loop.create_connection(factory, sock=ours)
        return ours, Peer(theirs), transport, protocol

    return run(loop, connect())


def test_a_socket_closed_under_its_transport_ends_with_connection_lost(loop):
    capture_errors(loop)
    ours, peer, transport, protocol = connect_pair(loop)
    run_turns(loop, 3)
    ours.close()

    async def finish():
        transport.write(b"lost")
        transport.abort()
        await protocol.lost
        # Nothing holds the connection open any more.
        try:
            return await peer.recv()
        except ConnectionResetError:
            return b""

    assert run(loop, finish()) == b""
    assert protocol.calls.count("connection_lost") == 1
    peer.close()


async def echo_on(pairs):
    for number, (reader, writer) in enumerate(pairs):
        writer.write(b"%d" % number)
        assert await reader.readexactly(1) == b"%d" % number
        writer.close()
        await writer.wait_closed()


def test_others_are_served_beside_a_socket_closed_under_its_transport(loop):
    capture_errors(loop)
    ours, peer, transport, protocol = connect_pair(loop)

    async def others():
        async with serving(Echo) as served:
            pairs = [await asyncio.open_connection(*served.address) for _ in range(3)]
            ours.close()
            await echo_on(pairs)
        transport.abort()
        await protocol.lost

    run(loop, others())
    peer.close()


@only_on("loopx")
def test_the_number_of_a_socket_closed_under_its_transport_serves_others(loop):
    """asyncio says 'used by transport' for as long as the old transport was not closed."""
    capture_errors(loop)
    ours, peer, transport, protocol = connect_pair(loop)
    run_turns(loop, 3)
    ours.close()

    async def others():
        async with serving(Echo) as served:
            await echo_on([await asyncio.open_connection(*served.address) for _ in range(3)])
        transport.abort()
        await protocol.lost

    run(loop, others())
    peer.close()


def test_a_write_does_not_reach_the_next_owner_of_the_number(loop):
    capture_errors(loop)
    ours, peer, transport, protocol = connect_pair(loop)
    run_turns(loop, 3)
    number = ours.fileno()
    ours.close()
    mine, other = socket.socketpair()
    try:
        assert number in (mine.fileno(), other.fileno())

        async def write():
            transport.write(b"secret")
            await turns()
            transport.abort()
            await protocol.lost

        run(loop, write())
        for sock in (mine, other):
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(10)
        # The number still belongs to them: the transport's end did not close it.
        mine.send(b"still open")
        assert other.recv(20) == b"still open"
    finally:
        mine.close()
        other.close()
        peer.close()


def test_a_shutdown_socket_under_a_transport_is_the_end_of_the_stream(loop):
    ours, peer, transport, protocol = connect_pair(loop)
    run_turns(loop, 3)
    ours.shutdown(socket.SHUT_RDWR)

    async def finish():
        await protocol.ended
        await protocol.lost
        return await peer.recv()

    assert run(loop, finish()) == b""
    assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
    peer.close()


@only_on("loopx")
def test_a_listening_socket_closed_under_its_server(loop):
    """asyncio's server cannot be closed any more after this: ValueError."""
    capture_errors(loop)

    async def main():
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = await loop.create_server(Echo, sock=sock)
        await turns(3)
        sock.close()
        await turns(3)
        server.close()
        return await asyncio.sleep(0.01, "goes on")

    assert run(loop, main()) == "goes on"
