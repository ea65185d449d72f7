# recv(2) and read(2) into a bytes object made for it. For bulk, where the kernel fills what is
# handed out without a copy, and for calls made on behalf of sock_recv.
# Any thread may call these; they know no loop.

ctypedef ssize_t (*ReadFunction)(int fd, void *buffer, size_t length) noexcept nogil


cdef ssize_t receive_now(int fd, void *buffer, size_t length) noexcept nogil:
    return posix_recv(fd, buffer, length, MSG_DONTWAIT)


cdef object receive_bytes(int fd, Py_ssize_t length_max, ReadFunction read):
    """recv(2) or read(2): bytes (b'' at the end), None when nothing is there, or an errno."""
    cdef PyObject *data
    cdef ssize_t length
    cdef int error
    cdef char *target
    fresh = PyBytes_FromStringAndSize(NULL, length_max)
    target = PyBytes_AS_STRING(fresh)
    with nogil:
        length = read(fd, target, length_max)
        error = errno
    if length < 0:
        return None if error == EAGAIN or error == EINTR else error
    if length == length_max:
        return fresh
    if length < length_max // 2:
        return PyBytes_FromStringAndSize(target, length)    # do not keep the rest allocated
    Py_INCREF(fresh)
    data = <PyObject *>fresh
    fresh = None
    resize_bytes(&data, length)
    fresh = <object>data
    Py_DECREF(fresh)
    return fresh
