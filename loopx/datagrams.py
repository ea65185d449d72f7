"""Datagram endpoints: `create_datagram_endpoint`.

Owns every socket that it makes until a transport has taken it over, and closes it on any other
way out. Called on the loop's own thread only. Must not keep an exception in a local variable of
a frame that its traceback holds: such cycles keep sockets and protocols alive until the
collector runs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar

from loopx.listening import remove_stale_unix_socket
from loopx.sockets import SocketsMixin

logger = logging.getLogger("asyncio")

_P = TypeVar("_P", bound=asyncio.BaseProtocol)

# Where an endpoint may be: family, protocol, the address to bind to, the address of the peer.
_Place: TypeAlias = tuple[int, int, Any, Any]


def _refuse_socket(sock: socket.socket, options: dict[str, Any]) -> None:
    """Raise ValueError for a stream, and for options that only a socket made here could have."""
    if sock.type == socket.SOCK_STREAM:
        raise ValueError(f"A datagram socket was expected, got {sock!r}")
    given = ", ".join(f"{name}={value}" for name, value in options.items() if value)
    if given:
        raise ValueError(
            "socket modifier keyword arguments can not be used when sock is specified. "
            f"({given})"
        )


def _unix_places(family: int, proto: int, local_addr: Any, remote_addr: Any) -> list[_Place]:
    for path in (local_addr, remote_addr):
        if path is not None and not isinstance(path, str):
            raise TypeError("string is expected")
    if local_addr:
        remove_stale_unix_socket(local_addr)
    return [(family, proto, local_addr, remote_addr)]


class DatagramsMixin(SocketsMixin):
    """Endpoints for datagrams. No state of its own."""

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], _P],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ) -> tuple[asyncio.DatagramTransport, _P]:
        """Open an endpoint at `local_addr`, for datagrams to and from `remote_addr` if given.

        Addresses are (host, port), or paths with family AF_UNIX. With `allow_broadcast` the
        socket is not connected, and only what is sent goes to `remote_addr`. `sock` is any
        socket but a stream, in place of all other options; it belongs to the transport then.

        Raises ValueError or TypeError for arguments that contradict each other or name no
        address; OSError, the first one, when no address can be used. A `sock` stays open then.
        """
        self._check_closed()
        given, peer = sock, None
        if sock is not None:
            _refuse_socket(
                sock,
                {
                    "local_addr": local_addr,
                    "remote_addr": remote_addr,
                    "family": family,
                    "proto": proto,
                    "flags": flags,
                    "reuse_port": reuse_port,
                    "allow_broadcast": allow_broadcast,
                },
            )
            self._unowned(sock)
            sock.setblocking(False)
        else:
            places = await self._datagram_places(local_addr, remote_addr, family, proto, flags)
            sock, peer = await self._first_datagram_socket(places, reuse_port, allow_broadcast)
        try:
            protocol = protocol_factory()
            waiter = self.create_future()
            transport = self._make_datagram_transport(sock, protocol, peer, waiter)
        except BaseException:
            if given is None:
                sock.close()
            raise
        if self.get_debug():
            logger.log(
                logging.INFO if local_addr else logging.DEBUG,
                "Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)",
                local_addr,
                remote_addr,
                transport,
                protocol,
            )
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _datagram_places(
        self, local_addr: Any, remote_addr: Any, family: int, proto: int, flags: int
    ) -> list[_Place]:
        """Each family and protocol that has all the addresses asked for, in the lookup's order."""
        if not (local_addr or remote_addr):
            if family == 0:
                raise ValueError("unexpected address family")
            return [(family, proto, None, None)]
        if family == socket.AF_UNIX:
            return _unix_places(family, proto, local_addr, remote_addr)
        found: dict[tuple[int, int], list[Any]] = {}
        for index, address in enumerate((local_addr, remote_addr)):
            if address is None:
                continue
            if not (isinstance(address, tuple) and len(address) == 2):
                raise TypeError("2-tuple is expected")
            infos = await self._resolve(
                address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags
            )
            if not infos:
                raise OSError("getaddrinfo() returned empty list")
            for info in infos:
                found.setdefault((info[0], info[2]), [None, None])[index] = info[4]
        places = [
            (*key, local, remote)
            for key, (local, remote) in found.items()
            if not (local_addr and local is None) and not (remote_addr and remote is None)
        ]
        if not places:
            raise ValueError("can not get address information")
        return places

    async def _first_datagram_socket(
        self, places: Iterable[_Place], reuse_port: bool | None, allow_broadcast: bool | None
    ) -> tuple[socket.socket, Any]:
        """A socket at the first place that can be had, and the address of its peer."""
        failures: list[OSError] = []
        try:
            for family, proto, local, remote in places:
                sock = None
                try:
                    sock = socket.socket(family, socket.SOCK_DGRAM, proto)
                    if reuse_port:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    if allow_broadcast:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    sock.setblocking(False)
                    if local:
                        sock.bind(local)
                    if remote and not allow_broadcast:
                        await self._connect_resolved(sock, remote)
                    return sock, remote
                except BaseException as exc:
                    if sock is not None:
                        sock.close()
                    if not isinstance(exc, OSError):
                        raise
                    failures.append(exc)
            raise failures[0]
        finally:
            del failures  # their tracebacks hold this frame
