"""TLS: `asyncio.sslproto.SSLProtocol` put between a stream transport and the user's protocol.

Owns the checks of TLS arguments and the putting together; the handshake, the records and their
flow control are asyncio's. Called on the loop's own thread only. Must not touch a socket's
bytes: TLS here is a protocol like any other, on top of our transport.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from asyncio import sslproto
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

try:
    import ssl
except ImportError:  # an interpreter built without OpenSSL
    ssl = None  # type: ignore[assignment]

from loopx._core import TLSProtocol

if TYPE_CHECKING:
    from loopx._core import LoopCore
else:
    LoopCore = object

logger = logging.getLogger("asyncio")

ProtocolFactory: TypeAlias = Callable[[], asyncio.BaseProtocol]
# What the `ssl` parameters take: a context, True for a default one (clients only), or nothing.
TLSArgument: TypeAlias = "bool | None | ssl.SSLContext"


def refuse_timeouts_without_tls(
    tls: TLSArgument, handshake_timeout_s: float | None, shutdown_timeout_s: float | None
) -> None:
    """Raise ValueError for a TLS timeout without TLS."""
    if tls:
        return
    if handshake_timeout_s is not None:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if shutdown_timeout_s is not None:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")


class TLSMixin(LoopCore):
    """TLS of a loop. No state of its own."""

    async def start_tls(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None:
        """Upgrade a connection to TLS; return the transport that `protocol` uses from now on.

        Timeouts are in seconds (None: 60 for the handshake, 30 for the shutdown). Raises
        TypeError for what is not an ssl.SSLContext or a transport that TLS cannot run on, and
        what the handshake fails with (ssl.SSLError, ConnectionError, TimeoutError); the
        transport is closed then.
        """
        if ssl is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(
                "sslcontext is expected to be an instance of ssl.SSLContext, "
                f"got {sslcontext!r}"
            )
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        below: Any = transport
        waiter = self.create_future()
        tls_protocol = self._tls_protocol(
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            call_connection_made=False,
        )
        # Nothing may reach the TLS protocol before its connection_made().
        below.pause_reading()
        if server_side:
            _take_early_bytes(protocol, tls_protocol)
        below.set_protocol(tls_protocol)
        connection_made = self.call_soon(tls_protocol.connection_made, below)
        resume_reading = self.call_soon(below.resume_reading)
        try:
            await waiter
        except BaseException:
            below.close()
            connection_made.cancel()
            resume_reading.cancel()
            del waiter  # it holds the exception, whose traceback holds this frame
            raise
        return tls_protocol._app_transport

    def _make_tls_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[None],
        *,
        server_side: bool,
        server_hostname: str | None,
        handshake_timeout_s: float | None,
        shutdown_timeout_s: float | None,
    ) -> asyncio.Transport:
        """A TLS transport over `sock` (owned by it); `waiter` gets the handshake's outcome.

        Without a context a client gets asyncio's default one, a server ValueError.
        """
        tls_protocol = self._tls_protocol(
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            handshake_timeout_s,
            shutdown_timeout_s,
        )
        transport: asyncio.Transport = tls_protocol._app_transport
        self._make_stream_transport(sock, tls_protocol)
        return transport

    def _tls_protocol_factory(
        self,
        protocol_factory: ProtocolFactory,
        sslcontext: ssl.SSLContext,
        handshake_timeout_s: float | None,
        shutdown_timeout_s: float | None,
    ) -> ProtocolFactory:
        """A factory for accepted connections: the user's protocol behind a TLS server side.

        A handshake that fails closes the connection; nobody waits for it, and it is no error of
        this program, so it is reported in debug mode only.
        """

        def make_tls_protocol() -> sslproto.SSLProtocol:
            protocol = protocol_factory()
            waiter = self._reporting_waiter(protocol) if self.get_debug() else None
            return self._tls_protocol(
                protocol, sslcontext, waiter, True, None, handshake_timeout_s, shutdown_timeout_s
            )

        return make_tls_protocol

    def _tls_protocol(
        self,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[None] | None,
        server_side: bool,
        server_hostname: str | None,
        handshake_timeout_s: float | None,
        shutdown_timeout_s: float | None,
        call_connection_made: bool = True,
    ) -> sslproto.SSLProtocol:
        """asyncio's TLS protocol in front of `protocol`; ValueError for a timeout below 0."""
        make: Any = TLSProtocol
        made: sslproto.SSLProtocol = make(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=handshake_timeout_s,
            ssl_shutdown_timeout=shutdown_timeout_s,
            call_connection_made=call_connection_made,
        )
        return made

    def _reporting_waiter(self, protocol: asyncio.BaseProtocol) -> asyncio.Future[None]:
        """A future for a handshake's outcome that reports a failure to the exception handler."""

        loop: Any = self

        def report(waiter: asyncio.Future[None]) -> None:
            if waiter.cancelled():
                return
            exc = waiter.exception()
            if exc is not None:
                loop.call_exception_handler(
                    {
                        "message": "Error on transport creation for incoming connection",
                        "exception": exc,
                        "protocol": protocol,
                    }
                )

        waiter: asyncio.Future[None] = self.create_future()
        waiter.add_done_callback(report)
        return waiter


def _take_early_bytes(protocol: Any, tls_protocol: Any) -> None:
    """Hand what a stream reader has already read to TLS.

    A client that does not wait for the server's go-ahead sends its first TLS record right
    behind its request, and both may have been read at once.
    """
    if not isinstance(protocol, asyncio.StreamReaderProtocol):
        return
    reader = getattr(protocol, "_stream_reader", None)
    if reader is not None and reader._buffer:
        tls_protocol._incoming.write(reader._buffer)
        reader._buffer.clear()
