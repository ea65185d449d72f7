# The bytes object that bulk is received into, straight from the socket. It is handed out, and used
# again when nobody kept it: so it lies where the processor copies quickly, which takes a search,
# and a receive asks no allocator. Once one was kept, with more memory than what came takes, those
# that follow are made for what comes, until many in a row were not kept.
# Only the loop's thread may touch it. Without a GIL each counts as kept.

cdef enum:
    NOT_KEPT_IN_A_ROW = 64       # of any connection: one that keeps all may share the loop
    BULK_ALIGNMENT = 32          # elsewhere AMD's Zen 4 takes 5 to 10% longer for a copy

cdef struct BulkSpace:
    PyObject *item               # of `capacity` bytes, nobody else's; NULL while there is none
    Py_ssize_t capacity
    PyObject *lent               # the last one handed out, only to be compared
    int made_for_what_comes      # as many more, and those that are kept


cdef object receive_bulk(BulkSpace *space, int fd, Py_ssize_t length_max):
    """As receive_bytes(). What comes is to be given to bulk_space_offer() after its delivery."""
    cdef ssize_t length
    cdef int error
    cdef char *target
    cdef PyThreadState *released
    space.lent = NULL
    if space.made_for_what_comes:
        data = receive_bytes(fd, length_max, receive_now)
        if PyBytes_CheckExact(data) and PyBytes_GET_SIZE(data) >= length_max // 2:
            space.lent = <PyObject *>data
        return data
    data = bulk_space_take(space, length_max)
    target = PyBytes_AS_STRING(data)
    released = release_gil_for_others(length_max)
    length = receive_now(fd, target, length_max)
    error = errno
    take_gil_back(released)
    if length >= length_max // 2:
        Py_SET_SIZE(data, length)
        target[length] = 0
        space.lent = <PyObject *>data
        return data
    bulk_space_take_back(space, data)
    if length >= 0:
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data), length)
    return None if error == EAGAIN or error == EINTR else error


cdef object bulk_space_take(BulkSpace *space, Py_ssize_t capacity):
    if space.item != NULL and space.capacity == capacity:
        data = <object>space.item
        Py_DECREF(data)
        space.item = NULL
        return data
    bulk_space_free(space)
    space.capacity = capacity
    return new_bytes_well_placed(capacity, BULK_ALIGNMENT)


cdef inline void bulk_space_offer(BulkSpace *space, object data) noexcept:
    """What receive_bulk() returned was delivered; the caller is about to drop it."""
    if <PyObject *>data != space.lent:
        return
    if not is_unshared(data):
        space.made_for_what_comes = NOT_KEPT_IN_A_ROW
    elif space.made_for_what_comes:
        space.made_for_what_comes -= 1         # and it is let go: it has no room for more
    else:
        bulk_space_take_back(space, data)


cdef inline void bulk_space_take_back(BulkSpace *space, object data) noexcept:
    Py_SET_SIZE(data, space.capacity)
    forget_hash(<PyObject *>data)
    Py_INCREF(data)
    space.item = <PyObject *>data


cdef void bulk_space_free(BulkSpace *space) noexcept:
    Py_XDECREF(space.item)
    space.item = NULL
