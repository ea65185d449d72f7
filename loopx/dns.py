"""Name lookups: `getaddrinfo`, `getnameinfo`, and the resolving that connecting and serving use.

Owns the decision of what needs a thread: numeric addresses are answered at once on the loop's
thread, everything else goes to the lookup pool of `loopx/executor.py` (why it is a pool of its
own is said there). Called on the loop's own thread only. Must not answer inline anything that
could read a file, ask a name service or use the network.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
from functools import partial
from types import FunctionType
from typing import Any, TypeAlias

from loopx._core import Lookup
from loopx.executor import ExecutorMixin

logger = logging.getLogger("asyncio")

# (family, type, proto, canonical name, socket address), as socket.getaddrinfo gives it.
AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]
Host: TypeAlias = bytes | str | None
Port: TypeAlias = bytes | str | int | None

# With these two, glibc's getaddrinfo(3) consults no name service and reads no service table: it
# only parses. So a numeric query can be answered inline by getaddrinfo itself, and its results
# have the same shape and order as socket.getaddrinfo's because they are its results.
# As plain integers: an operation on the enumeration takes 0.5 us.
_NUMERIC = int(socket.AI_NUMERICHOST | socket.AI_NUMERICSERV)

# Flags that change which addresses a numeric query yields, but never ask anyone else. Any other
# flag (canonical names, internationalised names) goes to the executor.
_INLINE_FLAGS = int(
    _NUMERIC | socket.AI_PASSIVE | socket.AI_ADDRCONFIG | socket.AI_V4MAPPED | socket.AI_ALL
)

_NUMERIC_NAMEINFO = int(socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)

_INT_MAX = 2**31 - 1

# What socket.getaddrinfo's IDNA encoding leaves as it is: labels of 1 to 63 ASCII characters.
_PLAIN_NAME = re.compile(r"(?:[\x01-\-/-\x7f]{1,63}\.)*[\x01-\-/-\x7f]{1,63}\.?")

_PROTOCOL_OF_TYPE = {
    socket.SOCK_STREAM: socket.IPPROTO_TCP,
    socket.SOCK_DGRAM: socket.IPPROTO_UDP,
}


def literal_address(
    host: Host,
    port: Port,
    family: int,
    type: int,
    proto: int,
    flow_info: int = 0,
    scope_id: int = 0,
) -> AddressInfo | None:
    """The one address that an IP literal with a numeric port stands for, else None.

    The short cut that asyncio takes before connecting, binding or sending: the host is kept as
    it is written, and the protocol follows from the socket type.
    """
    if proto not in (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None
    proto_of_type = _PROTOCOL_OF_TYPE.get(type)  # type: ignore[call-overload]
    if host is None or proto_of_type is None:
        return None
    if port is None or port == "" or port == b"":
        port = 0
    try:
        port = int(port)
        if isinstance(host, bytes):
            host = host.decode("idna")
    except (TypeError, ValueError):
        return None  # a service name, or a host that getaddrinfo shall complain about
    if "%" in host:
        return None  # inet_pton takes no zone ("fe80::1%eth0"); getaddrinfo does
    families = (socket.AF_INET, socket.AF_INET6) if family == socket.AF_UNSPEC else (family,)
    for candidate in families:
        try:
            socket.inet_pton(candidate, host)  # ValueError for a null byte, which ends C's strings
        except OSError:
            continue
        if candidate == socket.AF_INET6:
            return candidate, type, proto_of_type, "", (host, port, flow_info, scope_id)
        return candidate, type, proto_of_type, "", (host, port)
    return None


def _numeric_lookup(
    host: Host, port: Port, family: int, type: int, proto: int, flags: int
) -> list[AddressInfo] | None:
    """socket.getaddrinfo's answer when both host and service are numeric, else None.

    None also on every error, so that the error a caller sees is that of the full lookup.
    """
    if flags & ~_INLINE_FLAGS:
        return None
    if isinstance(port, (str, bytes)):
        if not (port.isdigit() and port.isascii()):
            return None
    elif port is None and host is None:
        return None
    if isinstance(host, str):
        if not host.isascii():
            return None
        host = str.encode(host, "ascii")  # as bytes it does not load the idna codec
    elif host is not None and not isinstance(host, bytes):
        return None  # type: ignore[unreachable]
    if host is not None and not (host[:1].isdigit() or b":" in host):
        return None
    try:
        answer: list[Any] = socket.getaddrinfo(host, port, family, type, proto, flags | _NUMERIC)
    except (OSError, ValueError, TypeError, OverflowError):
        return None
    return answer


def _plain_query(
    host: Host, port: Port, *hints: int
) -> tuple[bytes | None, bytes | None, tuple[int, ...]] | None:
    """Host, service and hints as getaddrinfo(3) takes them.

    None for what socket.getaddrinfo converts, encodes or refuses: it does so best itself.
    """
    for hint in hints:
        if not (isinstance(hint, int) and -_INT_MAX <= hint <= _INT_MAX):
            return None
    if type(host) is str:
        if not _PLAIN_NAME.fullmatch(host):
            return None
        host = host.encode("ascii")
    if type(port) is int:
        port = str(port)
    if type(port) is str:
        if not port.isascii():
            return None
        port = port.encode("ascii")
    for text in (host, port):
        if not (text is None or type(text) is bytes and b"\0" not in text):
            return None
    return host, port, tuple([int(hint) for hint in hints])  # type: ignore[return-value]


def _getaddrinfo_is_pythons() -> bool:
    """Whether nobody has put a function of their own in its place, as tests and tools do."""
    function = socket.getaddrinfo
    return type(function) is FunctionType and function.__globals__ is vars(socket)


async def _end_of(lookup: Lookup) -> Any:
    """What it found, or the exception."""
    try:
        return await lookup.future
    finally:
        lookup.cancel()  # where it has not begun, nobody waits for it any more


class DNSMixin(ExecutorMixin):
    """Lookups of a loop. No state of its own."""

    async def getaddrinfo(
        self,
        host: Host,
        port: Port,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """socket.getaddrinfo (getaddrinfo(3)) without blocking the loop.

        A numeric host with a numeric service is answered without a thread; the rest runs in a
        pool of threads reserved for lookups. Raises what socket.getaddrinfo raises
        (socket.gaierror), and RuntimeError on a closed loop or, when a thread is needed, after
        `shutdown_default_executor`.
        """
        self._check_closed()
        answer = _numeric_lookup(host, port, family, type, proto, flags)
        if answer is not None:
            return answer
        pool = self._pool_for_lookups()
        query = _plain_query(host, port, family, type, proto, flags)
        if query is not None and not self.get_debug() and _getaddrinfo_is_pythons():
            sys.audit("socket.getaddrinfo", host, port, *query[2][:3])
            lookup = pool.query(self, *query)
        else:
            func = self._timed_lookup if self.get_debug() else socket.getaddrinfo
            lookup = pool.call(self, partial(func, host, port, family, type, proto, flags))
        found: list[Any] = await _end_of(lookup)
        return found

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0
    ) -> tuple[str, str]:
        """socket.getnameinfo (getnameinfo(3)) without blocking the loop.

        Inline when NI_NUMERICHOST and NI_NUMERICSERV are both set, else in the lookup pool.
        """
        self._check_closed()
        if flags & _NUMERIC_NAMEINFO == _NUMERIC_NAMEINFO:
            return socket.getnameinfo(sockaddr, flags)
        lookup = self._pool_for_lookups().call(self, partial(socket.getnameinfo, sockaddr, flags))
        names: tuple[str, str] = await _end_of(lookup)
        return names

    async def _resolve(
        self,
        address: tuple[Any, ...],
        *,
        family: int = 0,
        type: int = socket.SOCK_STREAM,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """The addresses that `(host, port)` or `(host, port, flow info, scope id)` stands for."""
        host, port = address[:2]
        info = literal_address(host, port, family, type, proto, *address[2:])
        if info is not None:
            return [info]
        return await self.getaddrinfo(
            host, port, family=family, type=type, proto=proto, flags=flags
        )

    def _timed_lookup(
        self, host: Host, port: Port, family: int, type: int, proto: int, flags: int
    ) -> list[Any]:
        """Debug mode's lookup (in a worker thread): logs the query, its answer and how long."""
        options = {"family": family, "type": type, "proto": proto, "flags": flags}
        given = [f"{name}={value!r}" for name, value in options.items() if value]
        query = ", ".join([f"{host!s}:{port!r}", *given])
        logger.debug("Get address info %s", query)
        start = self.time()
        answer = socket.getaddrinfo(host, port, family, type, proto, flags)
        elapsed = self.time() - start
        slow = elapsed >= self.slow_callback_duration
        logger.log(
            logging.INFO if slow else logging.DEBUG,
            "Getting address info %s took %.3fms: %r",
            query,
            elapsed * 1e3,
            answer,
        )
        return answer
