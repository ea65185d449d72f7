"""Waiting for room in a socket whose peer is done sending, and does not receive either.

Thread: the loop's; the peer is a plain socket, read from in threads.
"""

import asyncio
import errno
import select
import socket
import time

import pytest

from tests.support.net import TIMEOUT_S, run, tcp_pair

QUIET_S = 0.3
SETTLED_S = 0.05
MUCH = bytes(range(256)) * 32_768              # more than a socket holds: 8 MiB
FAMILIES = pytest.mark.parametrize("family", ["tcp", "unix"])


@pytest.fixture
def pair(family):
    """A socket, and its peer, which has no more to send."""
    ours, theirs = tcp_pair() if family == "tcp" else socket.socketpair()
    theirs.settimeout(TIMEOUT_S)
    ours.setblocking(False)
    theirs.shutdown(socket.SHUT_WR)
    with ours, theirs:
        yield ours, theirs


def fill(sock):
    """Send what there is room for, also once TCP has moved some of it on; how much that was."""
    sent, is_full = 0, False
    while True:
        try:
            sent += sock.send(MUCH)
        except BlockingIOError:
            if is_full:
                return sent
            is_full = not select.select([], [sock], [], SETTLED_S)[1]
        else:
            is_full = False


def receive(sock, length):
    """So many bytes, at most."""
    pieces = []
    while length and (data := sock.recv(min(length, 65_536))):
        pieces.append(data)
        length -= len(data)
    return b"".join(pieces)


async def nothing_happens():
    """Sleeps; fails where that takes much of a core."""
    before = time.process_time()
    await asyncio.sleep(QUIET_S)
    assert time.process_time() - before < QUIET_S / 3


class Half(asyncio.Protocol):
    """Stays open for what it has to send."""

    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()

    def eof_received(self):
        return True

    def connection_lost(self, error):
        self.lost.set_result(error)


@FAMILIES
def test_a_transport_sleeps_until_there_is_room(loop, pair):
    ours, theirs = pair

    async def write_much():
        transport, protocol = await loop.connect_accepted_socket(Half, ours)
        transport.write(MUCH)
        await nothing_happens()
        assert await asyncio.to_thread(receive, theirs, len(MUCH) // 2) == MUCH[:len(MUCH) // 2]
        await nothing_happens()
        transport.write(b"last")
        transport.close()
        rest = await asyncio.to_thread(receive, theirs, len(MUCH))
        assert rest == MUCH[len(MUCH) // 2:] + b"last"
        assert await protocol.lost is None

    run(loop, write_much())


@FAMILIES
def test_sock_sendall_sleeps_until_there_is_room(loop, pair):
    ours, theirs = pair

    async def send_much():
        sending = asyncio.ensure_future(loop.sock_sendall(ours, MUCH))
        await nothing_happens()
        assert not sending.done()
        assert await asyncio.to_thread(receive, theirs, len(MUCH)) == MUCH
        await sending

    run(loop, send_much())


@FAMILIES
def test_a_writer_is_called_once_there_is_room(loop, pair):
    ours, theirs = pair
    filled = fill(ours)
    calls = []

    async def watch():
        loop.add_writer(ours, calls.append, None)
        await nothing_happens()
        assert not calls
        receive(theirs, filled)
        while not calls:
            await asyncio.sleep(0)
        loop.remove_writer(ours)
        count = len(calls)
        await asyncio.sleep(0.05)
        assert len(calls) == count

    run(loop, watch())


@FAMILIES
def test_it_goes_on_when_the_loop_runs_again(loop, pair):
    """Stopped while nothing happens, and right after there is room."""
    ours, theirs = pair
    filled = fill(ours)
    calls = []

    async def begin():
        loop.add_writer(ours, calls.append, None)
        await asyncio.sleep(0.02)

    run(loop, begin())
    run(loop, nothing_happens())
    assert not calls
    loop.call_soon(receive, theirs, filled)
    for turns in range(1, 100):
        loop.call_soon(loop.stop)
        loop.run_forever()
        if calls:
            break
    assert calls
    assert turns < 20
    loop.remove_writer(ours)


@FAMILIES
def test_who_waits_can_be_cancelled(loop, pair):
    """As it waits, and as there is room at the same time."""
    ours, theirs = pair

    async def cancel_two():
        for has_room in (False, True):
            fill(ours)
            sending = asyncio.ensure_future(loop.sock_sendall(ours, b"x"))
            await asyncio.sleep(0.02)
            if has_room:
                receive(theirs, 4_000_000 if ours.family == socket.AF_INET else 200_000)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        loop.add_writer(ours, pytest.fail)
        loop.remove_writer(ours)
        await asyncio.sleep(0.02)

    run(loop, cancel_two())


@FAMILIES
def test_the_loop_can_be_closed_meanwhile(loop, pair):
    ours, _theirs = pair

    async def begin():
        fill(ours)
        loop.add_writer(ours, pytest.fail)
        await asyncio.sleep(0.02)

    run(loop, begin())
    loop.close()


@FAMILIES
def test_a_peer_that_resets_ends_the_wait(loop, pair):
    ours, theirs = pair

    async def write_much():
        transport, protocol = await loop.connect_accepted_socket(Half, ours)
        transport.write(MUCH)
        await asyncio.sleep(0.02)
        theirs.close()
        error = await protocol.lost
        assert error.errno in (errno.EPIPE, errno.ECONNRESET)

    run(loop, write_much())
