"""The peer's end of a TLS connection, whose records the test makes and sends as it likes.

Owns: the handshake of that end over a plain socket, and the connection of ours to it.
Thread: the loop's; the socket's calls block in worker threads (tests.support.net.Peer).
Must not: know of loopx, or read what our side sends after the handshake.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from tests.support import certs
from tests.support.net import Peer, tcp_pair
from tests.support.recorders import RecordingProtocol


class Wire:
    """The peer's end of a TLS connection, of which the test sends as much as it likes."""

    def __init__(self, peer: Peer, *, server_side: bool, version: ssl.TLSVersion) -> None:
        self.peer, self.incoming, self.outgoing = peer, ssl.MemoryBIO(), ssl.MemoryBIO()
        context = certs.server_context(version=version) if server_side else certs.client_context()
        context.minimum_version = context.maximum_version = version
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=None if server_side else certs.HOSTNAME,
        )

    async def flight(self) -> bytes:
        """What the handshake has to say next; b"" when it is over."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                if self.outgoing.pending:
                    return self.outgoing.read()
                data = await self.peer.recv()
                if not data:
                    raise EOFError from None
                self.incoming.write(data)
            else:
                return self.outgoing.read()

    async def shake_hands(self) -> None:
        while True:
            data = await self.flight()
            await self.peer.send(data)
            try:
                self.tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                pass

    def encrypted(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()


@contextlib.asynccontextmanager
async def against_wire(
    protocol: RecordingProtocol,
    *,
    server_side: bool,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    handshake_timeout_s: float = 10.0,
) -> AsyncIterator[tuple["asyncio.Task[object]", Wire]]:
    """Our side, still shaking hands, and the wire that it is connected to."""
    loop = asyncio.get_running_loop()
    ours, theirs = tcp_pair()
    peer = Peer(theirs)
    wire = Wire(peer, server_side=not server_side, version=version)
    if server_side:
        connecting = loop.connect_accepted_socket(
            lambda: protocol,
            ours,
            ssl=certs.server_context(),
            ssl_handshake_timeout=handshake_timeout_s,
        )
    else:
        connecting = loop.create_connection(
            lambda: protocol,
            sock=ours,
            ssl=certs.client_context(),
            server_hostname=certs.HOSTNAME,
            ssl_handshake_timeout=handshake_timeout_s,
        )
    task: asyncio.Task[object] = loop.create_task(connecting)
    try:
        yield task, wire
    finally:
        peer.close()
