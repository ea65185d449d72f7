# sock_recv, sock_recv_into and sock_sendall: make the call, wait through the ring where the socket
# says EAGAIN, and make it again. The kernel is asked for readiness and not for data, and it is the
# coroutine that makes the call once it goes on: what is received for one that is cancelled before
# would be lost, and what 64 sockets received would have left the caches before it is looked at.
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
    cdef int fd
    cdef Py_ssize_t length_max = length_of_int(nbytes) if is_plain(sock) else 0
    if 0 < length_max <= RECEIVE_BYTES_MAX:
        fd = descriptor_of_socket(sock)
        if length_max > BULK_SPACE_BYTES or loop.is_elsewhere():   # without a GIL, by mistake
            data = receive_bytes(fd, length_max, receive_now)
        elif length_max > SPACE_BYTES_MAX:
            data = receive_bulk(&loop.bulk_space, fd, length_max)
        else:
            data = receive_into_space(loop, fd, length_max)
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
    cdef PyThreadState *released
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
            released = (NULL if view.len <= SPACE_BYTES_MAX
                        else release_gil_for_others(view.len))
            length = posix_recv(fd, view.buf, view.len, MSG_DONTWAIT)
            error = errno
            take_gil_back(released)
            PyBuffer_Release(&view)
            if length < 0 and error != EAGAIN and error != EINTR:
                raise OSError(error, os.strerror(error))
            return length if length >= 0 else WOULD_BLOCK
    try:
        return sock.recv_into(buffer)
    except (BlockingIOError, InterruptedError):
        return WOULD_BLOCK


cdef Py_ssize_t send_now(sock, data, Py_ssize_t *total) except -1:
    """How many bytes were sent: 0 where the socket would block. Of `total`, or -1: not known.

    SEND_BYTES_MAX at most by a stream socket: there may be room for more.
    """
    cdef Py_buffer view
    cdef Py_ssize_t length
    cdef PyThreadState *released
    cdef ssize_t sent
    cdef int fd, error
    total[0] = -1
    if is_plain(sock):
        fd = descriptor_of_socket(sock)
        if get_readable_buffer(<PyObject *>data, &view) < 0:
            PyErr_Clear()                  # the method says it in its own words
        else:
            total[0] = view.len
            released = NULL if view.len <= QUICK_CALL_BYTES else release_gil_for_others(view.len)
            length = view.len
            if length > SEND_BYTES_MAX and not has_messages(fd):
                length = SEND_BYTES_MAX
            sent = posix_send(fd, view.buf, length, MSG_DONTWAIT | MSG_NOSIGNAL)
            error = errno
            take_gil_back(released)
            PyBuffer_Release(&view)
            if sent < 0 and error != EAGAIN and error != EINTR:
                raise OSError(error, os.strerror(error))
            return sent if sent >= 0 else 0
    try:
        return sock.send(data)
    except (BlockingIOError, InterruptedError):
        return 0


cdef DescriptorWait wait_for_socket(BaseLoop loop, sock, unsigned int events):
    cdef DescriptorWait wait = DescriptorWait.__new__(DescriptorWait)
    return wait.start(loop, unowned_descriptor(loop, sock), events)


cdef int unowned_descriptor(BaseLoop loop, sock) except? -2:
    """The socket's descriptor, to wait for; RuntimeError when a transport uses it."""
    cdef int fd = descriptor_of_socket(sock)
    loop.check_not_owned(fd)
    return fd


cdef class SocketCalls(BaseLoop):
    """A loop's sock_* methods that run per packet; the others are in sockets.py."""

    async def sock_recv(self, sock, n):
        """Receive at most `n` bytes; b"" means that the peer has shut down (recv(2))."""
        cdef DescriptorWait wait
        if self.debug or not is_plain(sock):
            self._check_sock(sock)
        while True:
            self.engine.system_calls += 1
            data = receive_now_or_none(self, sock, n)
            if data is not None:
                return data
            wait = wait_for_socket(self, sock, POLLIN)
            try:
                await wait.future
            finally:
                wait.end()

    async def sock_sendall(self, sock, data):
        """Send all of `data`; after a failure there is no telling how much of it was sent."""
        cdef DescriptorWait wait
        cdef Py_ssize_t sent, total, part
        if self.debug or not is_plain(sock):
            self._check_sock(sock)
        self.engine.system_calls += 1
        sent = part = send_now(sock, data, &total)
        if sent == total:
            return
        view = memoryview(data)
        if view.itemsize != 1 or view.ndim != 1:
            view = view.cast("B")         # so that slicing counts bytes, as send(2) does
        while sent < view.nbytes:
            if part != SEND_BYTES_MAX:
                wait = wait_for_socket(self, sock, POLLOUT)
                try:
                    await wait.future
                finally:
                    wait.end()
            self.engine.system_calls += 1
            part = send_now(sock, view[sent:], &total)
            sent += part

    def _recv_into_now(self, sock, buffer):
        cdef Py_ssize_t length
        if self.debug or not is_plain(sock):
            self._check_sock(sock)
        self.engine.system_calls += 1
        length = receive_into_now(sock, buffer)
        return None if length == WOULD_BLOCK else length

    def _wait_to_receive(self, sock):
        return wait_for_socket(self, sock, POLLIN)
