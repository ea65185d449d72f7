"""Datagram endpoints on a loop that threads run in turn, and in a forked child.

Owns: what arrives and what waits to leave while nobody runs the loop; the parent's endpoints in a
child.  Runs on asyncio and on loopx; that the child is refused is loopx's own.
"""

import asyncio
import gc
import os

import pytest

from tests.support.datagrams import (
    ANY_PORT,
    DatagramRecorder,
    drain,
    endpoint,
    fill,
    name_of,
    udp_socket,
    unix_pair,
)
from tests.support.loops import loop, loop_factory, loop_kind  # noqa: F401
from tests.support.moving import move, threads  # noqa: F401
from tests.support.net import only_on, run

COUNT = 6


def test_receiving_from_thread_to_thread(loop, threads):
    """The sender talks while nobody runs the loop."""
    opening = loop.create_datagram_endpoint(DatagramRecorder, ANY_PORT)
    transport, protocol = move(threads, loop, opening)
    with udp_socket() as sock:
        for number in range(COUNT):
            sock.sendto(b"%d" % number, name_of(protocol))
            assert move(threads, loop, protocol.datagrams(1)) == [b"%d" % number]

    async def close():
        transport.close()
        assert await protocol.lost is None

    move(threads, loop, close())


def test_what_waits_leaves_on_another_thread(loop, threads, tmp_path):
    async def start():
        _, protocol = await loop.create_datagram_endpoint(DatagramRecorder, sock=ours)
        filled = fill(ours)
        for number in range(COUNT):
            protocol.transport.sendto(b"%d" % number)
        protocol.transport.close()
        return protocol, filled

    async def finish():
        assert await protocol.lost is None

    with unix_pair(tmp_path) as (ours, theirs):
        protocol, filled = move(threads, loop, start())
        move(threads, loop, asyncio.sleep(0))
        assert drain(theirs) == [b"f"] * filled
        move(threads, loop, finish())
        assert drain(theirs) == [b"%d" % number for number in range(COUNT)]


def in_a_child(check):
    """The exit code of a forked child: 0 when `check()` returned True there."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        status = 0 if check() is True else 2
    finally:
        os._exit(status)


@only_on("loopx")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_refused(loop, tmp_path):
    """It may drop what it inherited; the parent's endpoints go on, with what waited."""

    def child(*endings):
        for ending in endings:
            with pytest.raises(RuntimeError):
                ending()
        gc.collect()
        return True

    async def main():
        with unix_pair(tmp_path) as (ours, theirs):
            async with endpoint(sock=ours) as protocol:
                filled = fill(ours)
                protocol.transport.sendto(b"waits")
                transport = protocol.transport
                calls = (lambda: transport.sendto(b"x"), transport.close, transport.abort)
                assert in_a_child(lambda: child(*calls)) == 0
                assert drain(theirs) == [b"f"] * filled
                assert await loop.sock_recv(theirs, 10) == b"waits"
                theirs.send(b"answer")
                assert await protocol.datagrams(1) == [b"answer"]

    run(loop, main())


@only_on("loopx")
def test_debug_mode_refuses_another_thread(loop):
    loop.set_debug(True)

    async def main():
        async with endpoint(ANY_PORT) as protocol:
            with pytest.raises(RuntimeError, match="thread"):
                await asyncio.to_thread(protocol.transport.sendto, b"x", name_of(protocol))
            with pytest.raises(RuntimeError, match="thread"):
                await asyncio.to_thread(protocol.transport.close)
            protocol.transport.sendto(b"x", name_of(protocol))
            assert await protocol.datagrams(1) == [b"x"]
        await loop.shutdown_default_executor()

    run(loop, main())


def test_debug_mode_tells_of_slow_callbacks(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0

    async def main():
        async with endpoint(ANY_PORT) as protocol:
            protocol.transport.sendto(b"x", name_of(protocol))
            assert await protocol.datagrams(1) == [b"x"]

    run(loop, main())
    assert "took" in caplog.text
