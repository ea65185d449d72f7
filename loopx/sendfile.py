"""`sendfile` and `sock_sendfile`: files to connections, inside the kernel where that is possible.

Owns the protocol that stands in for a transport's own while a file is on its way, and nothing
once the call is over. Called on the loop's own thread only. Must not splice through the ring
(that has made the kernel spawn thousands of workers): sendfile(2) on the non-blocking socket
moves what fits into its buffer, and the ring is only asked when there is room again. Must not
touch a descriptor after its transport began to close: the number may belong to someone else.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from asyncio.constants import _SendfileMode
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from loopx.sockets import SocketsMixin

if TYPE_CHECKING:
    from loopx._core import StreamTransport

# Read this much at a time where the kernel cannot send the file itself.
_FALLBACK_CHUNK_BYTES = 256 * 1024

# Bounds one sendfile(2), so that a fast receiver with large buffers does not keep the loop from
# its other connections.
_SENDFILE_CHUNK_BYTES = 1024 * 1024


def check_sendfile_arguments(file: Any, offset: object, count: object) -> None:
    """Raise ValueError or TypeError for a file in text mode, a bad offset or a bad count."""
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if count is not None:
        if not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
    if not isinstance(offset, int):
        raise TypeError(f"offset must be a non-negative integer (got {offset!r})")
    if offset < 0:
        raise ValueError(f"offset must be a non-negative integer (got {offset!r})")


def _fileno(file: Any) -> int:
    """The file's descriptor, or SendfileNotAvailableError. sendfile(2) will tell what it is."""
    try:
        fileno: int = file.fileno()
        os.fstat(fileno)  # refuses what is no descriptor, as asyncio does
    except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
        raise asyncio.SendfileNotAvailableError("not a regular file") from None
    return fileno


def _knows_positions(file: Any) -> bool:
    """Whether a file, or what is like one, can be told where to stand: no pipe, no closed one."""
    if getattr(file, "closed", False) or not hasattr(file, "seek"):
        return False
    return not hasattr(file, "seekable") or bool(file.seekable())


def _go_to(file: Any, offset: int) -> None:
    """Read from `offset` on; from the start, or where there is none, from what comes next."""
    if offset or _knows_positions(file):
        file.seek(offset)


def _leave_position(file: Any, position: int) -> None:
    """Let `file.tell()` say how far the file was sent, where it knows positions."""
    if _knows_positions(file):
        file.seek(position)


class _SendfileProtocol(asyncio.Protocol):
    """Stands in for a transport's protocol while a file is sent.

    It takes the flow control calls meant for the protocol, learns of a lost connection, and
    passes that on. Reading is paused meanwhile. `restore` puts everything back, and tells the
    protocol about writing paused or resumed if that changed behind its back.
    """

    def __init__(self, loop: SendfileMixin, transport: StreamTransport) -> None:
        self._loop = loop
        self._transport = transport
        self._protocol = transport.get_protocol()
        self._was_reading = transport.is_reading()
        self._was_paused = self._paused = transport._protocol_paused
        self._lost = False
        self._waiter: asyncio.Future[None] | None = None
        transport.pause_reading()
        transport.set_protocol(self)

    def check_open(self) -> None:
        """Raise ConnectionError once the connection is lost or closing."""
        if self._lost or self._transport.is_closing():
            raise ConnectionError("Connection closed by peer")

    async def drain(self) -> None:
        """Wait until the transport wants more to write; ConnectionError if it is lost."""
        self.check_open()
        while self._paused:
            await self.wait_for(None)

    async def drain_completely(self) -> None:
        """Wait until the transport's write buffer is empty; ConnectionError if it is lost."""
        transport = self._transport
        self.check_open()
        low, high = transport.get_write_buffer_limits()
        # With both marks at zero, resume_writing() comes exactly when the buffer is empty.
        transport.set_write_buffer_limits(0)
        try:
            while transport.get_write_buffer_size():
                await self.wait_for(None)
        finally:
            transport.set_write_buffer_limits(high, low)

    async def wait_for(self, wake: asyncio.Future[Any] | None) -> None:
        """Wait for `wake`, a flow control call or the loss of the connection (raised)."""
        self._waiter = self._loop.create_future()
        try:
            if wake is not None:
                wake.add_done_callback(self._wake)
            await self._waiter
        finally:
            self._waiter = None
            if wake is not None:
                wake.remove_done_callback(self._wake)
                if not wake.cancel() and not wake.cancelled():
                    wake.exception()  # seen: the next sendfile(2) meets it again and raises it
        self.check_open()

    def restore(self) -> None:
        """Give the transport back to its protocol, in the state that the protocol believes in."""
        if self._lost:
            return
        transport = self._transport
        try:
            transport.set_protocol(self._protocol)
        except AttributeError:
            return  # asyncio's TLS transport, closed twice, has let go of everything
        if self._was_reading:
            transport.resume_reading()
        paused = transport._protocol_paused
        if self._was_paused and not paused:
            self._protocol.resume_writing()
        elif paused and not self._was_paused:
            self._protocol.pause_writing()

    def _wake(self, wake: asyncio.Future[Any] | None = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the transport calls.

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def data_received(self, data: bytes) -> None:
        raise RuntimeError("Invalid state: reading should be paused")

    def eof_received(self) -> None:
        raise RuntimeError("Invalid state: reading should be paused")

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionError("Connection is closed by peer"))
        self._protocol.connection_lost(exc)


class SendfileMixin(SocketsMixin):
    """Sending files. No state of its own."""

    async def sendfile(
        self,
        transport: asyncio.WriteTransport,
        file: BinaryIO,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """Send `file` from `offset` on through `transport`; return the number of bytes sent.

        `count` bounds the bytes (None: to the end of the file). What was written before goes
        out first; writing meanwhile is refused. Uses sendfile(2) on plain stream transports;
        where that cannot be (TLS, files that are not regular) reads in the executor and writes
        with flow control, unless `fallback` is false. A file that shrinks ends the call early.
        The file's position tells how far it was sent, also after an error.

        Raises RuntimeError for a transport that is closing, unsuitable or sending another file,
        ValueError and TypeError for bad arguments, asyncio.SendfileNotAvailableError (or
        RuntimeError for TLS) instead of falling back, ConnectionError when the connection is
        lost.
        """
        if transport.is_closing():
            raise RuntimeError("Transport is closing")
        mode = getattr(transport, "_sendfile_compatible", _SendfileMode.UNSUPPORTED)
        if mode is _SendfileMode.UNSUPPORTED:
            raise RuntimeError(f"sendfile is not supported for transport {transport!r}")
        if mode is _SendfileMode.FALLBACK and not fallback:
            raise RuntimeError(
                "fallback is disabled and native sendfile is not supported "
                f"for transport {transport!r}"
            )
        check_sendfile_arguments(file, offset, count)
        if isinstance(transport.get_protocol(), _SendfileProtocol):
            raise RuntimeError("another file is being sent through this transport")
        stream = cast("StreamTransport", transport)
        if mode is _SendfileMode.TRY_NATIVE:
            try:
                return await self._sendfile_native(stream, file, offset, count)
            except asyncio.SendfileNotAvailableError:
                if not fallback:
                    raise
        return await self._sendfile_fallback(stream, file, offset, count)

    async def sock_sendfile(
        self,
        sock: socket.socket,
        file: BinaryIO,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int:
        """Send `file` through the connected non-blocking stream socket `sock`.

        Parameters, result and errors are those of `sendfile`; ValueError for a socket that is
        not of type SOCK_STREAM.
        """
        self._check_sock(sock)
        check_sendfile_arguments(file, offset, count)
        if sock.type != socket.SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        try:
            return await self._sock_sendfile_native(sock, file, offset, count)
        except asyncio.SendfileNotAvailableError:
            if not fallback:
                raise
        return await self._sock_sendfile_fallback(sock, file, offset, count)

    async def _sendfile_native(
        self, transport: StreamTransport, file: BinaryIO, offset: int, count: int | None
    ) -> int:
        """sendfile(2) on the transport's socket once its write buffer is empty."""
        in_fd = _fileno(file)
        sock = transport.get_extra_info("socket")
        stand_in = _SendfileProtocol(self, transport)
        transport._sendfile_busy = True

        def out_fd() -> int:
            stand_in.check_open()
            return cast(int, sock.fileno())

        async def wait_for_room() -> None:
            await stand_in.wait_for(self._wait_writable(out_fd()))

        try:
            await stand_in.drain_completely()
            return await self._send_in_kernel(out_fd, wait_for_room, file, in_fd, offset, count)
        except ConnectionError as exc:
            if not transport.is_closing():  # reading is paused, so only we have seen it
                transport._force_close(exc)
            raise
        finally:
            transport._sendfile_busy = False
            stand_in.restore()

    async def _sock_sendfile_native(
        self, sock: socket.socket, file: BinaryIO, offset: int, count: int | None
    ) -> int:
        """sendfile(2) on the caller's socket."""
        in_fd = _fileno(file)

        async def wait_for_room() -> None:
            await self._wait_writable(sock.fileno())

        return await self._send_in_kernel(sock.fileno, wait_for_room, file, in_fd, offset, count)

    async def _send_in_kernel(
        self,
        out_fd: Callable[[], int],
        wait_for_room: Callable[[], Awaitable[None]],
        file: BinaryIO,
        in_fd: int,
        offset: int,
        count: int | None,
    ) -> int:
        """sendfile(2) until `count` bytes are sent or the file ends; see `sendfile`."""
        sent = 0
        try:
            while count is None or sent < count:
                chunk = _SENDFILE_CHUNK_BYTES if count is None else count - sent
                chunk = min(chunk, _SENDFILE_CHUNK_BYTES)
                try:
                    moved = os.sendfile(out_fd(), in_fd, offset + sent, chunk)
                except (BlockingIOError, InterruptedError):
                    await wait_for_room()
                    continue
                if not moved:  # the end of the file, wherever it is by now
                    if not sent:
                        _leave_position(file, offset)  # as newer releases of asyncio do
                    break
                sent += moved
                if moved == chunk and sent != count:
                    await asyncio.sleep(0)  # let the other connections have their turn
        except ConnectionError:
            raise
        except OSError as exc:
            if exc.errno == errno.ENOTCONN:
                raise ConnectionError(errno.ENOTCONN, "socket is not connected") from exc
            if sent == 0:  # a pipe, or a file system that sendfile(2) cannot read from
                raise asyncio.SendfileNotAvailableError("os.sendfile call failed") from exc
            raise
        finally:
            if sent:
                _leave_position(file, offset + sent)
        return sent

    async def _sendfile_fallback(
        self, transport: StreamTransport, file: BinaryIO, offset: int, count: int | None
    ) -> int:
        """Read in the executor, write to the transport; one chunk is read while one is sent."""
        _go_to(file, offset)
        sent = 0
        stand_in = _SendfileProtocol(self, transport)
        try:
            while count is None or sent < count:
                data = await self._read_chunk(file, None if count is None else count - sent)
                if not data:
                    break
                await stand_in.drain()
                transport.write(data)
                sent += len(data)
        finally:
            stand_in.restore()
            _leave_position(file, offset + sent)
        return sent

    async def _sock_sendfile_fallback(
        self, sock: socket.socket, file: BinaryIO, offset: int, count: int | None
    ) -> int:
        """Read in the executor, send on the caller's socket."""
        _go_to(file, offset)
        sent = 0
        try:
            while count is None or sent < count:
                data = await self._read_chunk(file, None if count is None else count - sent)
                if not data:
                    break
                await self.sock_sendall(sock, data)
                sent += len(data)
        finally:
            _leave_position(file, offset + sent)
        return sent

    async def _read_chunk(self, file: BinaryIO, rest_bytes: int | None) -> bytes:
        """The next bytes of the file, b"" at its end.

        A new object each time: the one before may still be on its way to the kernel.
        """
        chunk = _FALLBACK_CHUNK_BYTES
        if rest_bytes is not None:
            chunk = min(chunk, rest_bytes)
        return await self.run_in_executor(None, file.read, chunk)
