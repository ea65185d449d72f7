"""Making listening sockets: binding to addresses and to Unix paths, and removing socket files.

Owns a socket until it is returned, and closes it when something fails before. Any thread may call
what is here. Must not know loops: `loopx/server.py` builds servers from what is made here.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Sequence

from loopx.dns import AddressInfo

logger = logging.getLogger("asyncio")

_INET = (socket.AF_INET, socket.AF_INET6)


class UnixSocketFile:
    """The file of a listening Unix socket, to be removed if it is still the same file.

    Only by the process that made this object: a forked child that closes what it inherited must
    not take the address away from its parent.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._path = sock.getsockname()
        self._pid = os.getpid()
        self._identity: tuple[int, int] | None = None
        if self._path and not is_abstract(self._path):
            with contextlib.suppress(OSError):  # removed already, or out of sight
                self._identity = self._stat()

    def remove(self) -> None:
        """Unlink the file, unless it is gone or was replaced. A failure is only logged."""
        if self._identity is None or self._pid != os.getpid():
            return
        try:
            if self._stat() == self._identity:
                os.unlink(self._path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            logger.error("Unable to clean up listening UNIX socket %r: %r", self._path, exc)

    def _stat(self) -> tuple[int, int]:
        status = os.stat(self._path)
        return status.st_dev, status.st_ino


def is_abstract(path: str | bytes) -> bool:
    """Whether a Unix address names no file (unix(7))."""
    return path[:1] in ("\0", b"\0")


def remove_stale_unix_socket(path: str | bytes) -> None:
    """Make room for binding to `path`. A failure is only logged: binding will fail, or not."""
    if not path or is_abstract(path):
        return
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)
    except FileNotFoundError:
        pass
    except OSError as exc:  # the directory may only permit making sockets
        logger.error("Unable to check or remove stale UNIX socket %r: %r", path, exc)


def bind_unix(path: str | bytes) -> socket.socket:
    """A socket bound to `path`, in place of a stale socket file there."""
    remove_stale_unix_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
    except OSError as exc:
        sock.close()
        if exc.errno != errno.EADDRINUSE:
            raise
        raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
    except BaseException:
        sock.close()
        raise
    return sock


def _set_listen_options(
    sock: socket.socket, reuse_address: bool, reuse_port: bool | None, keep_alive: bool | None
) -> None:
    if reuse_address:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
    if reuse_port and sock.family in _INET:  # Linux 6.12.9 refuses it elsewhere
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
    if keep_alive:  # accepted connections inherit it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
    if sock.family == socket.AF_INET6:
        # Or "::" would take the port for IPv4 too, and "0.0.0.0" could not be bound beside it.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)


def bind_all(
    infos: Sequence[AddressInfo],
    reuse_address: bool,
    reuse_port: bool | None,
    keep_alive: bool | None,
    debug: bool,
) -> list[socket.socket]:
    """One bound socket for each address that this machine has; OSError if there is none.

    An address that cannot be bound for another reason is an OSError, and nothing stays open.
    """
    sockets: list[socket.socket] = []
    try:
        for info in infos:
            family, type_, proto, _, address = info
            try:
                sock = socket.socket(family, type_, proto)
            except OSError:  # a family, type or protocol that this kernel does not have
                if debug:
                    logger.warning("create_server() failed to create %r", info, exc_info=True)
                continue
            sockets.append(sock)
            _set_listen_options(sock, reuse_address, reuse_port, keep_alive)
            try:
                sock.bind(address)
            except OSError as exc:
                reason = str(exc).lower()
                message = f"error while attempting to bind on address {address!r}: {reason}"
                if exc.errno != errno.EADDRNOTAVAIL:
                    raise OSError(exc.errno, message) from None
                sockets.pop().close()
                if debug:
                    logger.warning(message)
        if not sockets:
            raise OSError(f"could not bind on any address out of {[info[4] for info in infos]!r}")
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets
