"""Flow control when resume_writing raises KeyboardInterrupt: what is unsent still leaves.

Runs on asyncio and on loopx. Much is still unsent when the callback raises.
"""

import asyncio
import socket
import sys

import pytest

BIG = bytes(4 << 20)


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

    def receive_all():
        received = 0
        while data := theirs.recv(1 << 20):
            received += len(data)
        return received

    async def start():
        _, protocol = await loop.create_connection(Interrupting, sock=ours)
        protocol.transport.set_write_buffer_limits(high=1 << 20, low=1 << 20)
        protocol.transport.write(BIG)
        protocol.transport.close()
        return protocol, loop.run_in_executor(None, receive_all)

    async def finish():
        assert await asyncio.wait_for(protocol.lost, 20) is None
        assert await received == len(BIG)
        await loop.shutdown_default_executor()

    protocol, received = loop.run_until_complete(start())
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_until_complete(finish())
    theirs.close()
