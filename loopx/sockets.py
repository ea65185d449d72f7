"""The `sock_*` operations: asynchronous calls on the caller's own non-blocking sockets.

Owns nothing: sockets belong to the caller, operations in flight to the core. Each call tries
once inline and only then goes through the ring; awaiting the core's future and cancelling it
leaves the descriptor free for the next operation. sock_recv, sock_sendall and what
sock_recv_into calls, which run per packet, are native (io/sockets.pxi). Called on the loop's own
thread only. Must not keep a reference to a socket, a buffer or a future after the call is over.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any, TypeAlias

from loopx.dns import DNSMixin

try:
    import ssl
except ImportError:  # an interpreter built without OpenSSL
    ssl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Address: TypeAlias = tuple[Any, ...] | str | bytes

_INET = (socket.AF_INET, socket.AF_INET6)

# How long to wait before asking a full Unix listener again, in seconds: the first time, at most.
_UNIX_RETRY_FIRST_S = 0.001
_UNIX_RETRY_MAX_S = 0.05


def refuse_tls_socket(sock: socket.socket) -> None:
    """Raise TypeError for an ssl.SSLSocket: what it reads and writes are not its own bytes."""
    if ssl is not None and isinstance(sock, ssl.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")


class SocketsMixin(DNSMixin):
    """Operations on raw sockets. No state of its own.

    Every method raises TypeError for an ssl.SSLSocket, RuntimeError when it would have to wait
    for a descriptor that a transport uses and, in debug mode, ValueError for a socket that
    blocks; else what the socket's own method of that name raises.
    """

    async def sock_recv_into(self, sock: socket.socket, buf: WriteableBuffer) -> int:
        """Receive into the writable buffer `buf`; return the number of bytes written to it."""
        while (length := self._recv_into_now(sock, buf)) is None:
            wait = self._wait_to_receive(sock)
            try:
                await wait.future
            finally:
                wait.end()
        return length

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive one datagram of at most `bufsize` bytes; return it and the sender's address."""
        self._check_sock(sock)
        while True:
            try:
                return sock.recvfrom(bufsize)
            except (BlockingIOError, InterruptedError):
                pass
            await self._wait_readable(self._unowned(sock))

    async def sock_recvfrom_into(
        self, sock: socket.socket, buf: WriteableBuffer, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Receive one datagram into `buf`; return its size in bytes and the sender's address.

        `nbytes` bounds what is received; 0 stands for the whole buffer.
        """
        self._check_sock(sock)
        if not nbytes:
            nbytes = len(buf)  # type: ignore[arg-type]
        while True:
            try:
                return sock.recvfrom_into(buf, nbytes)
            except (BlockingIOError, InterruptedError):
                pass
            await self._wait_readable(self._unowned(sock))

    async def sock_sendto(
        self, sock: socket.socket, data: ReadableBuffer, address: Address
    ) -> int:
        """Send `data` as one datagram to `address`; return the number of bytes sent."""
        self._check_sock(sock)
        waited = False
        while True:
            try:
                return sock.sendto(data, address)
            except (BlockingIOError, InterruptedError):
                pass
            if waited and sock.family == socket.AF_UNIX:
                # The receiver's queue is full, and the sender is not connected: poll(2) looks
                # at the sender's own buffer alone. There is nothing to wait for but time.
                await asyncio.sleep(_UNIX_RETRY_FIRST_S)
            await self._wait_writable(self._unowned(sock))
            waited = True

    async def sock_connect(self, sock: socket.socket, address: Address) -> None:
        """Connect `sock` to `address`; the host of an IP address is resolved first.

        Raises OSError (ConnectionRefusedError, TimeoutError and so on, connect(2)).
        """
        self._check_sock(sock)
        if sock.family in _INET:
            infos = await self._resolve(
                address,  # type: ignore[arg-type]
                family=sock.family,
                type=sock.type,
                proto=sock.proto,
            )
            address = infos[0][4]
        await self._connect_resolved(sock, address)

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept one connection; return its socket, non-blocking, and the peer's address."""
        self._check_sock(sock)
        while True:
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError):
                pass
            else:
                connection.setblocking(False)
                return connection, address
            await self._wait_readable(self._unowned(sock))

    def _check_sock(self, sock: socket.socket) -> None:
        refuse_tls_socket(sock)
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    def _check_stream(self, sock: socket.socket) -> None:
        """What a given socket must be: a stream, not of TLS, and used by no transport."""
        refuse_tls_socket(sock)
        if sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        self._unowned(sock)

    def _unowned(self, sock: socket.socket) -> int:
        """The socket's descriptor, for one to use; RuntimeError when a transport does so."""
        fd = sock.fileno()
        self._check_not_owned(fd)
        return fd

    async def _connect_resolved(self, sock: socket.socket, address: Address) -> None:
        """Connect to an address that needs no lookup."""
        retry_s = _UNIX_RETRY_FIRST_S
        while True:
            try:
                sock.connect(address)
                return
            except InterruptedError:
                break  # connect(2): the attempt goes on in the background
            except BlockingIOError as exc:
                if exc.errno != errno.EAGAIN or sock.family != socket.AF_UNIX:
                    break
            # A Unix listener's backlog is full. The attempt is not under way, and poll(2) calls
            # the socket writable all the same, so there is nothing to wait for but time.
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, _UNIX_RETRY_MAX_S)
        await self._wait_writable(self._unowned(sock))
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"Connect call failed {address!s}")
