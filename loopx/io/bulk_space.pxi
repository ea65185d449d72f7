# The bytes objects that bulk is received into, straight from the socket, and handed out. Each is
# still referred to from here, and filled again once nobody else refers to it: so they lie where
# the processor copies quickly, which takes a search, and a receive asks no allocator. (New ones of
# that size, cut to what came, would have glibc give memory back to the kernel each time: 71 instead
# of 24 us for 200,000 bytes.) While all are kept by whoever got them, copies are handed out; or,
# where much comes, the socket is asked how much there is, and an object made that is as long.
# Only the loop's thread may touch it. Without a GIL nobody can know that an object is unshared:
# none is lent then.

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...)
    const unsigned long FIONREAD

cdef enum:
    BULK_SPACE_BYTES = 262144
    BULK_LENT_MAX = 3            # so many objects may be longer than they seem
    BULK_LENT_BYTES_MIN = 8192   # less is quickly copied
    BULK_ASKED_BYTES_MIN = 32768 # less is copied in the time that asking takes
    BULK_ALIGNMENT = 64          # elsewhere Intel's and AMD's processors take 5 to 10% longer

cdef struct BulkSpace:
    PyObject *item                   # nobody else's; NULL while there is none
    PyObject *lent[BULK_LENT_MAX]    # handed out; NULL where there is none
    Py_ssize_t last_bytes            # how much the last receive brought: so may the next


cdef object receive_bulk(BulkSpace *space, int fd, Py_ssize_t length_max):
    """As receive_bytes(), for at most BULK_SPACE_BYTES."""
    cdef PyObject *item
    cdef PyThreadState *released
    cdef char *target
    cdef ssize_t length
    cdef int error, there
    if space.last_bytes >= BULK_ASKED_BYTES_MIN and bulk_space_is_out(space):
        there = bytes_there(fd)
        if there >= BULK_ASKED_BYTES_MIN:
            return receive_bytes(fd, min(there, length_max), receive_now)
    item = bulk_space_take(space)
    target = PyBytes_AS_STRING(<object>item)
    released = release_gil_for_others(length_max)
    length = receive_now(fd, target, length_max)
    error = errno
    take_gil_back(released)
    if length >= 0:
        space.last_bytes = length
    if length >= BULK_LENT_BYTES_MIN and bulk_space_lend(space, item):
        return cut_to_length(item, length)
    if length < 0:
        bulk_space_put_back(space, item)
        return None if error == EAGAIN or error == EINTR else error
    try:
        data = PyBytes_FromStringAndSize(target, length)
    except MemoryError:
        data = cut_to_length(item, length)     # or what came would be lost
        Py_DECREF(data)
        return data
    bulk_space_put_back(space, item)
    return data


cdef int bytes_there(int fd) noexcept:
    """How many bytes a stream socket has. 0 of messages, which may be cut there."""
    cdef int there = 0
    if not has_messages(fd):
        ioctl(fd, FIONREAD, &there)
    return there


cdef bint has_messages(int fd) noexcept:
    """Whether it is a socket that loses what is beyond the room for a message."""
    cdef int socket_type
    cdef socklen_t length = sizeof(socket_type)
    return (getsockopt(fd, SOL_SOCKET, SO_TYPE, &socket_type, &length) == 0
            and socket_type != SOCK_STREAM)


cdef inline object cut_to_length(PyObject *item, Py_ssize_t length):
    Py_SET_SIZE(<object>item, length)
    PyBytes_AS_STRING(<object>item)[length] = 0
    return <object>item


cdef PyObject *bulk_space_take(BulkSpace *space) except NULL:
    """An object that is nobody else's: one that came back, as it is in the caches."""
    cdef PyObject *item
    cdef int index
    for index in range(BULK_LENT_MAX):
        if has_come_back(space.lent[index]):
            item, space.lent[index] = space.lent[index], NULL
            Py_SET_SIZE(<object>item, BULK_SPACE_BYTES)
            forget_hash(item)
            return item
    item, space.item = space.item, NULL
    if item == NULL:
        data = new_bytes_well_placed(BULK_SPACE_BYTES, BULK_ALIGNMENT)
        Py_INCREF(data)
        item = <PyObject *>data
    return item


cdef bint bulk_space_is_out(BulkSpace *space) noexcept:
    """Whether nothing more can be lent: all is kept by others."""
    cdef int index
    for index in range(BULK_LENT_MAX if KNOWS_UNSHARED else 0):
        if space.lent[index] == NULL or has_come_back(space.lent[index]):
            return False
    return True


cdef bint bulk_space_lend(BulkSpace *space, PyObject *item) noexcept:
    """Whether there is a place to remember the item by, which then keeps the reference."""
    cdef int index
    for index in range(BULK_LENT_MAX if KNOWS_UNSHARED else 0):
        if space.lent[index] == NULL:
            space.lent[index] = item
            return True
    return False


cdef inline void bulk_space_put_back(BulkSpace *space, PyObject *item) noexcept:
    Py_XDECREF(space.item)           # of a receive that another thread made meanwhile
    space.item = item


cdef inline bint has_come_back(PyObject *item) noexcept:
    return item != NULL and is_unshared(<object>item)


cdef void bulk_space_free(BulkSpace *space) noexcept:
    cdef int index
    for index in range(BULK_LENT_MAX):
        Py_XDECREF(space.lent[index])
        space.lent[index] = NULL
    Py_XDECREF(space.item)
    space.item = NULL
