# What sock_recv, sock_recv_into and sock_sendall do: try once, wait through the ring once the
# socket said EAGAIN, then make the call. The kernel is asked for readiness and not for data,
# because data received for a future that was cancelled meanwhile would be lost.
# A plain socket is read from and written to without its methods, which would raise an exception
# for each EAGAIN; what derives from it or stands in for it is asked by its own methods.

cdef enum:
    RECEIVE_BYTES_MAX = 1 << 30       # more is left to the socket's own method

cdef object PlainSocket = socket.socket


cdef object receive_now_or_none(sock, nbytes):
    """The bytes received, or None where the socket would block."""
    if type(sock) is PlainSocket and type(nbytes) is int and 0 < nbytes <= RECEIVE_BYTES_MAX:
        data = receive_bytes(sock.fileno(), nbytes, receive_now)
        if type(data) is int:
            raise OSError(data, os.strerror(data))
        return data
    try:
        return sock.recv(nbytes)
    except (BlockingIOError, InterruptedError):
        return None


cdef Py_ssize_t send_now(sock, data) except -1:
    """How many bytes were sent: 0 where the socket would block."""
    cdef ssize_t sent
    cdef int error
    if type(sock) is PlainSocket and type(data) is bytes and len(data) <= QUICK_CALL_BYTES:
        sent = posix_send(sock.fileno(), PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data),
                          MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent >= 0:
            return sent
        error = errno
        if error != EAGAIN and error != EINTR:
            raise OSError(error, os.strerror(error))
        return 0
    try:
        return sock.send(data)
    except (BlockingIOError, InterruptedError):
        return 0


cdef DescriptorWait receive_later(BaseLoop loop, sock, Py_ssize_t nbytes, buffer):
    """Waits for the bytes received, or, into `buffer`, for how many."""
    cdef DescriptorWait wait = DescriptorWait.__new__(DescriptorWait)
    wait.keep = sock
    wait.buffer = buffer
    wait.receive_bytes = nbytes
    return wait.start(loop, unowned_descriptor(loop, sock), POLLIN, on_receive_ready)


cdef DescriptorWait send_later(BaseLoop loop, sock, data):
    """Waits for how many bytes were sent: at least 1 of a non-empty `data`."""
    cdef DescriptorWait wait = DescriptorWait.__new__(DescriptorWait)
    wait.keep = sock
    wait.buffer = data
    return wait.start(loop, unowned_descriptor(loop, sock), POLLOUT, on_send_ready)


cdef int unowned_descriptor(BaseLoop loop, sock) except -1:
    """The socket's descriptor, to wait for; RuntimeError when a transport uses it."""
    cdef int fd = sock.fileno()
    loop.check_not_owned(fd)
    return fd


cdef int on_receive_ready(Operation *operation, int result, unsigned int flags) except -1:
    cdef DescriptorWait wait = <DescriptorWait>operation.owner
    if wait.future.done():
        return 0
    wait.loop.engine.system_calls += 1
    try:
        if wait.buffer is not None:
            value = wait.keep.recv_into(wait.buffer)
        else:
            value = receive_now_or_none(wait.keep, wait.receive_bytes)
            if value is None:
                return wait.loop.engine.submit(operation)
    except (BlockingIOError, InterruptedError):
        return wait.loop.engine.submit(operation)
    except (SystemExit, KeyboardInterrupt):
        wait.loop.engine.submit(operation)    # the call is made again when the loop goes on
        raise
    except BaseException as error:
        wait.future.set_exception(error)
    else:
        wait.future.set_result(value)
    return 0


cdef int on_send_ready(Operation *operation, int result, unsigned int flags) except -1:
    cdef DescriptorWait wait = <DescriptorWait>operation.owner
    if wait.future.done():
        return 0
    wait.loop.engine.system_calls += 1
    try:
        value = wait.keep.send(wait.buffer)
    except (BlockingIOError, InterruptedError):
        return wait.loop.engine.submit(operation)
    except (SystemExit, KeyboardInterrupt):
        wait.loop.engine.submit(operation)    # the call is made again when the loop goes on
        raise
    except BaseException as error:
        wait.future.set_exception(error)
    else:
        wait.future.set_result(value)
    return 0


cdef class SocketCalls(BaseLoop):
    """A loop's sock_* methods that run per packet; the others are in sockets.py."""

    async def sock_recv(self, sock, n):
        """Receive at most `n` bytes; b"" means that the peer has shut down (recv(2))."""
        cdef DescriptorWait wait
        if self.debug or type(sock) is not PlainSocket:
            self._check_sock(sock)
        data = receive_now_or_none(sock, n)
        if data is not None:
            return data
        wait = receive_later(self, sock, n, None)
        try:
            return await wait.future
        finally:
            wait.end()

    async def sock_sendall(self, sock, data):
        """Send all of `data`; after a failure there is no telling how much of it was sent."""
        cdef DescriptorWait wait
        cdef Py_ssize_t sent
        if self.debug or type(sock) is not PlainSocket:
            self._check_sock(sock)
        sent = send_now(sock, data)
        if type(data) is bytes and sent == PyBytes_GET_SIZE(data):
            return
        view = memoryview(data)
        if view.itemsize != 1 or view.ndim != 1:
            view = view.cast("B")         # so that slicing counts bytes, as send(2) does
        while sent < view.nbytes:
            wait = send_later(self, sock, view[sent:])
            try:
                sent += await wait.future
            finally:
                wait.end()

    def _recv_into_future(self, sock, buffer):
        return receive_later(self, sock, 0, buffer).future_alone()
