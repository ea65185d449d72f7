"""Serving: `create_server`, `create_unix_server` and `Server`.

Owns the listening sockets of a server until it is closed; making them is `loopx/listening.py`'s,
accepting the core's Acceptor's. Called on the loop's own thread only. Must not call
shutdown(2) on a listening socket: forked processes may share it, and would stop serving too.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import os
import socket
import sys
import weakref
from asyncio.trsock import TransportSocket
from collections.abc import Iterable, Sequence
from typing import Any

from loopx._core import Acceptor
from loopx.dns import AddressInfo, DNSMixin
from loopx.listening import UnixSocketFile, bind_all, bind_unix
from loopx.sockets import refuse_tls_socket
from loopx.tls import ProtocolFactory, TLSArgument, TLSMixin, refuse_timeouts_without_tls

logger = logging.getLogger("asyncio")

# Programs for an older Python remove the file of a Unix socket themselves.
_CLEANS_UP = sys.version_info >= (3, 13)
# Whether asyncio does so when serve_forever is cancelled: it began to in the middle of 3.13.
_CLOSES_CLIENTS = "close_clients" in asyncio.Server.serve_forever.__code__.co_names


class Server(asyncio.AbstractServer):
    """Listening sockets and the connections that came in through them.

    Made (not serving), serving, closed: `start_serving` or `serve_forever` lead from the first
    to the second, `close` from either to the last. The connections outlive it; `wait_closed`
    waits for them. Connections are referenced weakly, so that an abandoned one is still
    noticed. Connections run in copies of the context in which the server was made.
    """

    def __init__(
        self,
        loop: ServerMixin,
        sockets: list[socket.socket],
        protocol_factory: ProtocolFactory,
        backlog: int,
        *,
        owns_sockets: bool,
        unix_file: UnixSocketFile | None = None,
    ) -> None:
        self._loop = loop
        self._sockets: list[socket.socket] | None = sockets
        self._protocol_factory = protocol_factory
        self._backlog = backlog
        self._owns_sockets = owns_sockets  # false: made by the caller
        self._unix_file = unix_file
        self._acceptors: list[Acceptor] = []
        self._clients: weakref.WeakSet[asyncio.WriteTransport] = weakref.WeakSet()
        self._waiters: list[asyncio.Future[None]] | None = []  # None: all is over
        self._serving = False
        self._serving_forever_fut: asyncio.Future[None] | None = None
        self._context = contextvars.copy_context()

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} sockets={self.sockets!r}>"

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that this server runs on."""
        return self._loop  # type: ignore[return-value]

    def is_serving(self) -> bool:
        """Whether new connections are accepted."""
        return self._serving

    @property
    def sockets(self) -> tuple[TransportSocket, ...]:
        """The listening sockets; empty once the server is closed."""
        return tuple(TransportSocket(sock) for sock in self._sockets or ())

    async def start_serving(self) -> None:
        """Begin to accept connections; without effect on a server that does so already.

        Raises RuntimeError when the server is closed, OSError when a socket cannot listen.
        """
        self._start_serving()

    async def serve_forever(self) -> None:
        """Accept connections until this is cancelled, which closes the server.

        In later releases of Python 3.13 and from 3.14 on, as in asyncio, that also closes the
        connections. Raises RuntimeError when the server is closed or somebody else is in this
        call.
        """
        if self._serving_forever_fut is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        self._start_serving()
        self._serving_forever_fut = self._loop.create_future()
        try:
            await self._serving_forever_fut
        except asyncio.CancelledError:
            try:
                self.close()
                if _CLOSES_CLIENTS:
                    self.close_clients()
                await self.wait_closed()
            finally:
                raise
        finally:
            self._serving_forever_fut = None

    def close(self) -> None:
        """Stop accepting and close the listening sockets. Connections go on."""
        sockets = self._sockets
        if sockets is None:
            return
        self._sockets = None
        self._serving = False
        self._stop_accepting()
        for sock in sockets:
            sock.close()
        if self._unix_file is not None:
            self._unix_file.remove()
        forever = self._serving_forever_fut
        if forever is not None and not forever.done():
            forever.cancel()
            self._serving_forever_fut = None
        if not self._clients:
            self._wake_waiters()

    def close_clients(self) -> None:
        """Close all connections once their written data is out."""
        for transport in self._clients.copy():
            transport.close()

    def abort_clients(self) -> None:
        """Close all connections at once; data not yet sent is lost."""
        for transport in self._clients.copy():
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its last connection is gone.

        Python 3.11's asyncio returned at once for a closed server; there, so does this.
        """
        if self._waiters is None or (sys.version_info < (3, 12) and self._sockets is None):
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    # For this module, the core's transports and the loop.

    def _attach(self, transport: asyncio.WriteTransport) -> None:
        """A transport of this server was made."""
        self._clients.add(transport)

    def _detach(self, transport: asyncio.WriteTransport) -> None:
        """A transport of this server has lost its connection."""
        self._clients.discard(transport)
        if self._sockets is None and not self._clients:
            self._wake_waiters()

    def _start_serving(self) -> None:
        if self._sockets is None:
            raise RuntimeError(f"server {self!r} is closed")
        if self._serving:
            return
        self._serving = True
        for sock in self._sockets:
            sock.listen(self._backlog)
            acceptor = Acceptor(self._loop, sock, self._protocol_factory, self, self._backlog)
            self._acceptors.append(acceptor)
            self._context.run(acceptor.start)

    def _stop_accepting(self) -> None:
        for acceptor in self._acceptors:
            acceptor.stop()
        self._acceptors.clear()

    def _on_loop_close(self) -> None:
        """The loop is closing: nobody will accept any more, so nobody shall be kept waiting.

        A socket that the caller made may be meant for another loop, and stays open.
        """
        if self._owns_sockets:
            self.close()
        else:
            self._serving = False
            self._stop_accepting()

    def _wake_waiters(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)


class ServerMixin(TLSMixin, DNSMixin):
    """Making servers. State: the servers of this loop, which stop listening when it closes."""

    _servers: weakref.WeakSet[Server] | None = None

    async def create_server(
        self,
        protocol_factory: ProtocolFactory,
        host: str | bytes | Iterable[str | bytes] | None = None,
        port: str | bytes | int | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: TLSArgument = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """Listen on every address that `host` and `port` stand for, or on the bound `sock`.

        `host`: a name or address, several of them, or None or "" for all interfaces. Port 0
        lets the kernel choose, for each address on its own. `reuse_address` is on unless set to
        False. Timeouts are in seconds (None: 60 for the TLS handshake, 30 for its shutdown).

        Raises TypeError or ValueError for arguments that contradict each other, OSError when an
        address cannot be bound (one that this machine does not have is skipped, unless it is
        the only one); nothing is left open then.
        """
        self._check_closed()
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        refuse_timeouts_without_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        owns_sockets = sock is None
        if sock is not None:
            refuse_tls_socket(sock)
            if host is not None or port is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            if sock.type != socket.SOCK_STREAM:
                raise ValueError(f"A Stream Socket was expected, got {sock!r}")
            sockets = [sock]
        elif host is None and port is None:
            raise ValueError("Neither host/port nor sock were specified")
        else:
            infos = await self._resolve_hosts(host, port, family, flags)
            if reuse_address is None:
                reuse_address = True
            sockets = bind_all(
                infos, reuse_address, reuse_port, keep_alive, self.get_debug()
            )
        if ssl:
            protocol_factory = self._tls_protocol_factory(
                protocol_factory, ssl, ssl_handshake_timeout, ssl_shutdown_timeout
            )
        server = Server(self, sockets, protocol_factory, backlog, owns_sockets=owns_sockets)
        return self._launch(server, start_serving)

    async def create_unix_server(
        self,
        protocol_factory: ProtocolFactory,
        path: str | bytes | os.PathLike[str] | None = None,
        *,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: TLSArgument = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = _CLEANS_UP,
    ) -> Server:
        """Listen on the Unix socket `path`, or on the bound Unix stream socket `sock`.

        A path that begins with a null byte is an abstract address (unix(7)). A stale socket
        file at `path` is replaced; with `cleanup_socket` (the default from Python 3.13 on) the
        file is removed when the server is closed, if it is still the one that was bound.
        Timeouts as in `create_server`.

        Raises TypeError or ValueError for arguments that contradict each other, OSError when
        the address cannot be bound.
        """
        self._check_closed()
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        refuse_timeouts_without_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        owns_sockets = sock is None
        if sock is None:
            if path is None:
                raise ValueError("path was not specified, and no sock specified")
            sock = bind_unix(os.fspath(path))
        elif path is not None:
            raise ValueError("path and sock can not be specified at the same time")
        elif sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
        if ssl:
            protocol_factory = self._tls_protocol_factory(
                protocol_factory, ssl, ssl_handshake_timeout, ssl_shutdown_timeout
            )
        unix_file = UnixSocketFile(sock) if cleanup_socket else None
        server = Server(
            self,
            [sock],
            protocol_factory,
            backlog,
            owns_sockets=owns_sockets,
            unix_file=unix_file,
        )
        return self._launch(server, start_serving)

    def _launch(self, server: Server, start_serving: bool) -> Server:
        """Let a server that was just made begin, and remember it for the loop's closing."""
        for sock in server._sockets or ():
            sock.setblocking(False)
        if self._servers is None:
            self._servers = weakref.WeakSet()
        self._servers.add(server)
        if start_serving:
            try:
                server._start_serving()
            except BaseException:
                server._on_loop_close()
                raise
        if self.get_debug():
            logger.info("%r is serving", server)
        return server

    async def _resolve_hosts(
        self,
        host: str | bytes | Iterable[str | bytes] | None,
        port: str | bytes | int | None,
        family: int,
        flags: int,
    ) -> Sequence[AddressInfo]:
        """The addresses of all hosts, each once."""
        hosts: list[Any]
        if host == "":
            hosts = [None]
        elif isinstance(host, (str, bytes)) or not isinstance(host, Iterable):
            hosts = [host]
        else:
            hosts = list(host)

        async def resolve(name: Any) -> list[AddressInfo]:
            infos = await self._resolve(
                (name, port), family=family, type=socket.SOCK_STREAM, flags=flags
            )
            if not infos:
                raise OSError(f"getaddrinfo({name!r}) returned empty list")
            return infos

        if len(hosts) == 1:
            answers = [await resolve(hosts[0])]
        else:
            answers = await asyncio.gather(*map(resolve, hosts))
        return list(dict.fromkeys(itertools.chain.from_iterable(answers)))

    def _close_servers(self) -> None:
        """The loop is closing."""
        for server in list(self._servers or ()):
            server._on_loop_close()
        self._servers = None
