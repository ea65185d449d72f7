"""Flow control when its callbacks raise KeyboardInterrupt: what is unsent still leaves.

Runs on asyncio and on loopx. Much is still unsent when the callback raises.
"""

import asyncio
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.net import tcp_pair
from tests.support.threads import HAS_GIL

MIB = 1 << 20
BIG = bytes(4 * MIB)


class Interrupting(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.lost = asyncio.get_running_loop().create_future()

    def resume_writing(self):
        raise KeyboardInterrupt

    def connection_lost(self, error):
        self.lost.set_result(error)


def test_the_rest_is_sent_and_the_connection_closed(loop, loop_kind):
    if loop_kind == "asyncio" and sys.version_info >= (3, 14):
        pytest.skip("asyncio's transport goes on sending nothing for ever")
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def receive(most):
        received = 0
        while received < most and (data := theirs.recv(min(MIB, most - received))):
            received += len(data)
        return received

    async def start():
        _, protocol = await loop.create_connection(Interrupting, sock=ours)
        protocol.transport.set_write_buffer_limits(high=MIB, low=MIB)
        protocol.transport.write(BIG)
        protocol.transport.close()
        return protocol

    async def finish():
        rest = loop.run_in_executor(None, receive, len(BIG))
        assert await asyncio.wait_for(protocol.lost, 20) is None
        assert await received + await rest == len(BIG)
        await loop.shutdown_default_executor()

    protocol = loop.run_until_complete(start())
    # The mark is reached by this and by what the socket's buffer takes, not by far. It begins
    # when the loop rests: the interruption must not come out of the run above.
    received = loop.run_in_executor(None, receive, len(BIG) - MIB)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_until_complete(finish())
    theirs.close()


class InterruptingAtOnce(Interrupting):
    def pause_writing(self):
        raise KeyboardInterrupt

    def resume_writing(self):
        pass


def test_what_was_written_when_pausing_is_sent(loop):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def receive():
        received = 0
        while received < len(BIG):
            received += len(theirs.recv(MIB))

    async def start():
        return (await loop.create_connection(InterruptingAtOnce, sock=ours))[1]

    async def write():
        protocol.transport.write(BIG)

    async def finish():
        await asyncio.wait_for(loop.run_in_executor(None, receive), 20)
        protocol.transport.close()
        assert await protocol.lost is None
        await loop.shutdown_default_executor()

    protocol = loop.run_until_complete(start())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(write())
    theirs.settimeout(10)
    loop.run_until_complete(finish())
    theirs.close()


def test_interrupted_by_what_another_thread_wrote(loop, loop_kind):
    """A thread writes while the loop waits with sends under way: a mistake, but no hang."""
    if loop_kind == "asyncio":
        pytest.skip("asyncio's loop does not hear of the write")
    if not HAS_GIL:
        pytest.skip("without a GIL the loop makes the call, when the sends are over")
    pairs = [tcp_pair() for _ in range(10)]

    async def start():
        opened = []
        for ours, _theirs in pairs:
            _, protocol = await loop.create_connection(Interrupting, sock=ours)
            protocol.transport.set_write_buffer_limits(high=100, low=50)
            opened.append(protocol)
        return opened

    opened = loop.run_until_complete(start())
    peers = [theirs for _ours, theirs in pairs]

    def write_once_the_loop_waits():
        received = peers[0].recv(90)       # so the sends are submitted, and nothing ends the wait
        opened[0].transport.write(bytes(20))       # over the high-water mark with them
        return received

    async def write():
        for protocol in opened:
            protocol.transport.write(bytes(90))
        await asyncio.wrap_future(writing := threads.submit(write_once_the_loop_waits))
        return writing

    async def close():
        for protocol in opened:
            protocol.transport.close()
        for protocol in opened:
            await protocol.lost

    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(write())
        loop.run_until_complete(close())
    for peer in peers:
        with peer:
            expected = 20 if peer is peers[0] else 90
            assert len(peer.recv(200)) == expected
            assert peer.recv(1) == b""
