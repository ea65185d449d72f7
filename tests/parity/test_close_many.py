"""Many connections closed in one turn, and the loop closed as soon as all of them are lost.

Owns: pairs of connected sockets, one end of each on the loop. Thread: the main thread. The kernel
lets go of some twenty receives in one call, so most are still in flight when the loop ends.
"""

import asyncio
import socket

import pytest


class Protocol(asyncio.Protocol):
    """Tells of its end."""

    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, error):
        self.lost.set_result(error)


async def connect(loop, count):
    """So many transports, their protocols and their peers."""
    connections = []
    for _ in range(count):
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        connections.append((*await loop.create_connection(Protocol, sock=ours), peer))
    return connections


async def close(connections):
    for transport, _, peer in connections:
        transport.close()
        peer.close()
    await asyncio.gather(*[protocol.lost for _, protocol, _ in connections])


def test_transports_that_nobody_kept(loop):
    """They are the kernel's alone by then: what frees them must not find them open."""
    connections = loop.run_until_complete(connect(loop, 300))
    sockets = [transport.get_extra_info("socket") for transport, _, _ in connections]
    closing = close(connections)
    del connections
    loop.run_until_complete(closing)
    del closing
    loop.close()
    assert [each.fileno() for each in sockets] == [-1] * 300


@pytest.mark.parametrize("count", [1, 30, 300])
def test_no_descriptor_outlives_the_loop(loop, count):
    """A transport that still had one would warn as it goes away (an error in these tests)."""
    connections = loop.run_until_complete(connect(loop, count))
    sockets = [transport.get_extra_info("socket") for transport, _, _ in connections]
    loop.run_until_complete(close(connections))
    loop.close()
    assert [each.fileno() for each in sockets] == [-1] * count
