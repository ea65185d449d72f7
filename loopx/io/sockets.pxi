# sock_recv, sock_recv_into and sock_sendall: try once, wait through the ring once the
# socket said EAGAIN, then make the call. The kernel is asked for readiness and not for data,
# because data received for a future that was cancelled meanwhile would be lost.
# A plain socket is read from and written to without its methods, which would raise an exception
# for each EAGAIN; what derives from it or stands in for it is asked by its own methods.

cdef enum:
    RECEIVE_BYTES_MAX = 1 << 30       # more is left to the socket's own method
    SPACE_BYTES_MAX = 65536           # of what is kept for the next call, which keeps the GIL
    WOULD_BLOCK = -2

cdef object PlainSocket = socket.socket
cdef bint FILENO_IS_KNOWN = find_fileno(PlainSocket.fileno)


cdef inline bint is_plain(sock) noexcept:
    return type(sock) is PlainSocket


cdef int descriptor_of_socket(sock) except? -2:
    if FILENO_IS_KNOWN and is_plain(sock):
        return fileno_of_socket(sock)
    return sock.fileno()


cdef object receive_now_or_none(BaseLoop loop, sock, nbytes):
    """The bytes received, or None where the socket would block."""
    if is_plain(sock) and type(nbytes) is int and 0 < nbytes <= RECEIVE_BYTES_MAX:
        if nbytes <= SPACE_BYTES_MAX:
            data = receive_into_space(loop, descriptor_of_socket(sock), nbytes)
        else:
            data = receive_bytes(descriptor_of_socket(sock), nbytes, receive_now)
        if type(data) is int:
            raise OSError(data, os.strerror(data))
        return data
    try:
        return sock.recv(nbytes)
    except (BlockingIOError, InterruptedError):
        return None


cdef object receive_into_space(BaseLoop loop, int fd, Py_ssize_t nbytes):
    """As receive_bytes(). Most calls find nothing, or little: the object that was made for all
    of it is kept for the next one."""
    cdef PyObject *space = loop.receive_space
    cdef ssize_t length
    cdef int error
    if loop.is_elsewhere():                 # without a GIL, and by mistake
        return receive_bytes(fd, nbytes, receive_now)
    if space == NULL or PyBytes_GET_SIZE(<object>space) != nbytes:
        loop.receive_space = NULL
        Py_XDECREF(space)
        space = new_bytes(NULL, nbytes)
    loop.receive_space = space
    length = posix_recv(fd, PyBytes_AS_STRING(<object>space), nbytes, MSG_DONTWAIT)
    error = errno
    if length < 0:
        return None if error == EAGAIN or error == EINTR else error
    if length < nbytes // 2:
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(<object>space), length)
    loop.receive_space = NULL
    if length < nbytes:
        resize_bytes(&space, length)
    data = <object>space
    Py_DECREF(data)
    return data


cdef Py_ssize_t receive_into_now(sock, buffer) except -1:
    """How many bytes were received into `buffer`; WOULD_BLOCK where the socket would block."""
    cdef Py_buffer view
    cdef ssize_t length
    cdef int fd, error
    if is_plain(sock):
        fd = descriptor_of_socket(sock)
        if get_writable_buffer(<PyObject *>buffer, &view) < 0:
            PyErr_Clear()                  # the method says it in its own words
        elif view.len == 0:
            PyBuffer_Release(&view)
            return 0
        else:
            if view.len <= SPACE_BYTES_MAX:
                length = posix_recv(fd, view.buf, view.len, MSG_DONTWAIT)
                error = errno
            else:
                with nogil:
                    length = posix_recv(fd, view.buf, view.len, MSG_DONTWAIT)
                    error = errno
            PyBuffer_Release(&view)
            if length < 0 and error != EAGAIN and error != EINTR:
                raise OSError(error, os.strerror(error))
            return length if length >= 0 else WOULD_BLOCK
    try:
        return sock.recv_into(buffer)
    except (BlockingIOError, InterruptedError):
        return WOULD_BLOCK


cdef Py_ssize_t send_now(sock, data, Py_ssize_t *total) except -1:
    """How many bytes were sent: 0 where the socket would block. Of `total`, or -1: not known."""
    cdef Py_buffer view
    cdef ssize_t sent
    cdef int fd, error
    total[0] = -1
    if is_plain(sock):
        fd = descriptor_of_socket(sock)
        if get_readable_buffer(<PyObject *>data, &view) < 0:
            PyErr_Clear()                  # the method says it in its own words
        else:
            total[0] = view.len
            if view.len <= QUICK_CALL_BYTES:
                sent = posix_send(fd, view.buf, view.len, MSG_DONTWAIT | MSG_NOSIGNAL)
                error = errno
            else:
                with nogil:
                    sent = posix_send(fd, view.buf, view.len, MSG_DONTWAIT | MSG_NOSIGNAL)
                    error = errno
            PyBuffer_Release(&view)
            if sent < 0 and error != EAGAIN and error != EINTR:
                raise OSError(error, os.strerror(error))
            return sent if sent >= 0 else 0
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


cdef int unowned_descriptor(BaseLoop loop, sock) except? -2:
    """The socket's descriptor, to wait for; RuntimeError when a transport uses it."""
    cdef int fd = descriptor_of_socket(sock)
    loop.check_not_owned(fd)
    return fd


cdef int on_receive_ready(Operation *operation, int result, unsigned int flags) except -1:
    cdef DescriptorWait wait = <DescriptorWait>operation.owner
    cdef Py_ssize_t length
    if wait.future.done():
        return 0
    wait.loop.engine.system_calls += 1
    try:
        if wait.buffer is None:
            value = receive_now_or_none(wait.loop, wait.keep, wait.receive_bytes)
        else:
            length = receive_into_now(wait.keep, wait.buffer)
            value = None if length == WOULD_BLOCK else length
        if value is None:
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
        if self.debug or not is_plain(sock):
            self._check_sock(sock)
        data = receive_now_or_none(self, sock, n)
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
        cdef Py_ssize_t sent, total
        if self.debug or not is_plain(sock):
            self._check_sock(sock)
        sent = send_now(sock, data, &total)
        if sent == total:
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

    def _recv_into_now(self, sock, buffer):
        cdef Py_ssize_t length
        if self.debug or not is_plain(sock):
            self._check_sock(sock)
        length = receive_into_now(sock, buffer)
        return None if length == WOULD_BLOCK else length

    def _recv_into_later(self, sock, buffer):
        return receive_later(self, sock, 0, buffer)
