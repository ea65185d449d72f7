# recv(2) and read(2) into a bytes object made for it. For bulk that is kept, for pipes, and for
# calls made on behalf of sock_recv.
# Any thread may call these; they know no loop.

cdef enum:
    WELL_PLACED_BYTES_MIN = 16384       # for fewer it makes next to no difference
    PLACES_TRIED = 8

ctypedef ssize_t (*ReadFunction)(int fd, void *buffer, size_t length) noexcept nogil


cdef ssize_t receive_now(int fd, void *buffer, size_t length) noexcept nogil:
    return posix_recv(fd, buffer, length, MSG_DONTWAIT)


cdef inline bint is_well_placed(data, size_t alignment) noexcept:
    """Not where AMD's processors copy slowly: Zen 3 takes five times as long, Zen 4 a third more.

    That is less than 32 bytes behind the source of a copy, both taken from the start of their
    pages; the kernel's side of a bulk copy mostly begins a page.
    """
    cdef size_t place = <size_t>PyBytes_AS_STRING(data)
    return place % 4096 >= 32 and place % alignment == 0


cdef object new_bytes_well_placed(Py_ssize_t length, size_t alignment):
    """Bytes to be filled, well placed if a few tries find that."""
    cdef list tried = None
    cdef bint is_last_search = False
    data = PyBytes_FromStringAndSize(NULL, length)
    while not is_well_placed(data, alignment):
        if tried is None:
            tried = []
        elif len(tried) == PLACES_TRIED:
            if is_last_search:
                break
            # What glibc maps begins alike each time, until it has freed a block of that size:
            # from then on it has a place in the heap.
            tried.clear()
            is_last_search = True
        tried.append(data)                    # or the next one would lie there again
        try:
            data = PyBytes_FromStringAndSize(NULL, length)
        except MemoryError:
            break
    return data


cdef object receive_bytes(int fd, Py_ssize_t length_max, ReadFunction read):
    """recv(2) or read(2): bytes (b'' at the end), None when nothing is there, or an errno."""
    cdef PyObject *data
    cdef ssize_t length
    cdef int error
    cdef char *target
    if length_max < WELL_PLACED_BYTES_MIN:
        fresh = PyBytes_FromStringAndSize(NULL, length_max)
    else:
        fresh = new_bytes_well_placed(length_max, 1)
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
