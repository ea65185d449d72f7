"""Connecting: `create_connection`, `create_unix_connection`, `connect_accepted_socket`.

Owns every socket from its creation until a transport has taken it over, and closes it on any
other way out. Called on the loop's own thread only. Must not keep an exception in a local
variable of a frame that its traceback holds: such cycles keep sockets and protocols alive until
the collector runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

from loopx.dns import AddressInfo
from loopx.sockets import SocketsMixin
from loopx.tls import TLSArgument, TLSMixin, refuse_timeouts_without_tls

logger = logging.getLogger("asyncio")

_P = TypeVar("_P", bound=asyncio.BaseProtocol)

# The failures of each connection attempt, in the order in which the attempts began.
_Failures = list[list[OSError]]


def _checked_hostname(ssl: TLSArgument, server_hostname: str | None, host: Any) -> str | None:
    """The name that a server's certificate must have: the host's unless another is given.

    An empty one given by the caller stands: it turns the check off.
    """
    if server_hostname is not None:
        if not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        return server_hostname
    if not ssl:
        return None
    if not host:
        raise ValueError("You must set server_hostname when using ssl without a host")
    return cast(str, host)


def _interleaved(infos: Iterable[AddressInfo], first_family_count: int) -> list[AddressInfo]:
    """The addresses with families taking turns (RFC 8305, section 4).

    `first_family_count` addresses of the first family come before the second family's first.
    """
    families: dict[int, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    groups = list(families.values())
    head: list[AddressInfo] = []
    if first_family_count > 1:
        head = groups[0][: first_family_count - 1]
        del groups[0][: first_family_count - 1]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*groups))
    return head + [info for info in turns if info is not None]


def _raise_combined(failures: _Failures, all_errors: bool) -> None:
    """Raise what stands for the failures of all attempts."""
    errors = [error for attempt in failures for error in attempt]
    try:
        if all_errors:
            raise ExceptionGroup("create_connection failed", errors)
        if not errors:
            raise TimeoutError("create_connection failed")
        first = str(errors[0])
        if all(str(error) == first for error in errors):
            raise errors[0]
        raise OSError("Multiple exceptions: {}".format(", ".join(map(str, errors))))
    finally:
        del errors, failures  # the traceback of the one raised holds this frame


def _bind_local(
    sock: socket.socket, local_infos: Sequence[AddressInfo], errors: list[OSError]
) -> None:
    """Bind to the first local address of the socket's family that can be had.

    The failures before it go to `errors`; OSError when there is none.
    """
    family = sock.family
    for local_family, _, _, _, address in local_infos:
        if local_family != family:
            continue
        try:
            sock.bind(address)
            return
        except OSError as exc:
            errors.append(
                OSError(
                    exc.errno,
                    f"error while attempting to bind on address {address!r}: {str(exc).lower()}",
                )
            )
    error = OSError(f"no matching local address with {family=} found")
    if errors:
        error = errors.pop()
    try:
        raise error
    finally:
        del error, errors  # its traceback holds this frame, and the caller puts it into `errors`


def _close_if_connected(attempt: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that succeeded although another one was taken."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


class ConnectMixin(TLSMixin, SocketsMixin):
    """Outgoing (and handed over) stream connections. No state of its own."""

    async def create_connection(
        self,
        protocol_factory: Callable[[], _P],
        host: str | bytes | None = None,
        port: str | bytes | int | None = None,
        *,
        ssl: TLSArgument = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.Transport, _P]:
        """Open a stream connection to `host` and `port`, or take over the connected `sock`.

        `happy_eyeballs_delay` (seconds; RFC 8305 recommends 0.25) starts the next address when
        the one before has neither failed nor succeeded by then, and lets families take turns as
        `interleave` says (1 by default with a delay). `local_addr` is bound to first. Timeouts
        are in seconds (None: 60 for the TLS handshake, 30 for its shutdown).

        Raises ValueError or TypeError for arguments that contradict each other, RuntimeError if a
        transport uses `sock`; OSError when no address can be reached: the failures in one message,
        or an ExceptionGroup of them with `all_errors`; ssl.SSLError and ConnectionError when the
        handshake fails. Once its arguments are accepted the socket is closed on failure, also if
        it was passed in.
        """
        self._check_closed()
        server_hostname = _checked_hostname(ssl, server_hostname, host)
        refuse_timeouts_without_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if happy_eyeballs_delay is not None and interleave is None:
            interleave = 1
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            options = {"family": family, "proto": proto, "flags": flags}
            infos = await self._resolve_all((host, port), options)
            local_infos = None
            if local_addr is not None:
                local_infos = await self._resolve_all(local_addr, options)
            if interleave:
                infos = _interleaved(infos, interleave)
            sock = await self._connect_any(infos, local_infos, happy_eyeballs_delay, all_errors)
        elif sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        else:
            self._check_stream(sock)
        timeouts_s = ssl_handshake_timeout, ssl_shutdown_timeout
        opened = await self._open_transport(
            sock, protocol_factory, ssl, server_hostname, False, timeouts_s
        )
        if self.get_debug():
            name = opened[0].get_extra_info("socket")
            logger.debug("%r connected to %s:%r: (%r, %r)", name, host, port, *opened)
        return opened

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _P],
        path: str | bytes | os.PathLike[str] | None = None,
        *,
        ssl: TLSArgument = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _P]:
        """Connect to the Unix stream socket at `path`, or take over the connected `sock`.

        A path that begins with a null byte is an abstract address (unix(7)). Timeouts are in
        seconds. Raises ValueError for arguments that contradict each other, OSError when the
        connection cannot be made. Once its arguments are accepted the socket is closed on
        failure, also if it was passed in.
        """
        self._check_closed()
        assert server_hostname is None or isinstance(server_hostname, str)
        if ssl:
            if server_hostname is None:
                raise ValueError("you have to pass server_hostname when using ssl")
        elif server_hostname is not None:
            raise ValueError("server_hostname is only meaningful with ssl")
        refuse_timeouts_without_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            path = os.fspath(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                await self._connect_resolved(sock, path)
            except BaseException:
                sock.close()
                raise
        elif sock is None:
            raise ValueError("no path and sock were specified")
        elif sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
        else:
            self._unowned(sock)
        timeouts_s = ssl_handshake_timeout, ssl_shutdown_timeout
        return await self._open_transport(
            sock, protocol_factory, ssl, server_hostname, False, timeouts_s
        )

    async def connect_accepted_socket(
        self,
        protocol_factory: Callable[[], _P],
        sock: socket.socket,
        *,
        ssl: TLSArgument = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _P]:
        """Serve a connection that was accepted elsewhere; `sock` belongs to the transport then.

        Timeouts are in seconds. Raises ValueError for a socket that is no stream or a timeout
        without `ssl`, TypeError for an ssl.SSLSocket, and what the TLS handshake fails with.
        """
        self._check_closed()
        self._check_stream(sock)
        refuse_timeouts_without_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        timeouts_s = ssl_handshake_timeout, ssl_shutdown_timeout
        opened = await self._open_transport(sock, protocol_factory, ssl, "", True, timeouts_s)
        if self.get_debug():
            logger.debug("%r handled: (%r, %r)", opened[0].get_extra_info("socket"), *opened)
        return opened

    async def _open_transport(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], _P],
        ssl: TLSArgument,
        server_hostname: str | None,
        server_side: bool,
        timeouts_s: tuple[float | None, float | None],
    ) -> tuple[asyncio.Transport, _P]:
        """Make protocol and transport for a connected socket, and wait until they are ready.

        `timeouts_s` are those of the TLS handshake and of its shutdown. The socket is closed
        when that fails.
        """
        transport: asyncio.Transport
        try:
            sock.setblocking(False)
            protocol = protocol_factory()
            waiter = self.create_future()
            if ssl:
                transport = self._make_tls_transport(
                    sock,
                    protocol,
                    None if isinstance(ssl, bool) else ssl,
                    waiter,
                    server_side=server_side,
                    server_hostname=server_hostname,
                    handshake_timeout_s=timeouts_s[0],
                    shutdown_timeout_s=timeouts_s[1],
                )
            else:
                transport = self._make_stream_transport(sock, protocol, waiter)
        except BaseException:
            sock.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            del waiter  # it holds the exception, whose traceback holds this frame
            raise
        return transport, protocol

    async def _resolve_all(
        self, address: tuple[Any, ...], options: dict[str, int]
    ) -> list[AddressInfo]:
        infos = await self._resolve(address, type=socket.SOCK_STREAM, **options)
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        return infos

    async def _connect_any(
        self,
        infos: Sequence[AddressInfo],
        local_infos: Sequence[AddressInfo] | None,
        delay_s: float | None,
        all_errors: bool,
    ) -> socket.socket:
        """A socket connected to one of the addresses; raises the combined failures if none."""
        failures: _Failures = []
        try:
            if delay_s is not None:
                sock = await self._race(infos, local_infos, delay_s, failures)
                if sock is not None:
                    return sock
            else:
                for info in infos:
                    with contextlib.suppress(OSError):
                        return await self._connect_one(info, local_infos, failures)
            _raise_combined(failures, all_errors)
            raise AssertionError("unreachable")
        finally:
            del failures  # it holds exceptions whose tracebacks hold this frame

    async def _connect_one(
        self,
        info: AddressInfo,
        local_infos: Sequence[AddressInfo] | None,
        failures: _Failures,
    ) -> socket.socket:
        """Create, bind and connect one socket. OSErrors are raised and noted in `failures`."""
        family, type_, proto, _, address = info
        errors: list[OSError] = []
        failures.append(errors)
        sock = None
        try:
            sock = socket.socket(family, type_, proto)
            sock.setblocking(False)
            if local_infos is not None:
                _bind_local(sock, local_infos, errors)
            await self._connect_resolved(sock, address)
            return sock
        except BaseException as exc:
            if sock is not None:
                with contextlib.suppress(OSError):  # must not replace what went wrong
                    sock.close()
            if isinstance(exc, OSError):
                errors.append(exc)
            raise
        finally:
            del errors, failures  # they hold the exception, whose traceback holds this frame

    async def _race(
        self,
        infos: Sequence[AddressInfo],
        local_infos: Sequence[AddressInfo] | None,
        delay_s: float,
        failures: _Failures,
    ) -> socket.socket | None:
        """Happy eyeballs (RFC 8305): the first socket to connect, None if every attempt failed.

        The next attempt begins when the newest one has failed or is `delay_s` seconds old. All
        attempts but the winner's are over, and their sockets closed, when this returns.
        """
        attempts: set[asyncio.Task[socket.socket]] = set()
        waiting = list(reversed(infos))
        newest: asyncio.Task[socket.socket] | None = None
        next_start = 0.0
        try:
            while waiting or attempts:
                if waiting and (newest is None or newest.done() or self.time() >= next_start):
                    info = waiting.pop()
                    newest = self.create_task(self._connect_one(info, local_infos, failures))
                    attempts.add(newest)
                    next_start = self.time() + delay_s
                timeout = max(0.0, next_start - self.time()) if waiting else None
                done, _ = await asyncio.wait(
                    attempts, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                for attempt in done:
                    attempts.discard(attempt)
                    if not attempt.cancelled() and not isinstance(attempt.exception(), OSError):
                        return attempt.result()
            return None
        finally:
            del failures  # it holds exceptions whose tracebacks hold this frame
            for attempt in attempts:
                attempt.add_done_callback(_close_if_connected)
                attempt.cancel()
            if attempts:
                await asyncio.wait(attempts)
