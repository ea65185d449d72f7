# Bytes objects that were handed out and that nobody kept, to be filled again by a later receive of
# the same size. From 1 KiB on glibc has no quick way to allocate: 500 of an echo's 3,400
# instructions. Smaller ones are Python's own, and quick.
# Only the loop's thread may touch it. Without a GIL nobody can know that an object is unshared:
# nothing is kept then.

cdef enum:
    SPARE_COUNT_MAX = 64
    SPARE_BYTES_MIN = 512
    SPARE_BYTES_MAX = 4096

cdef struct SpareBytes:
    PyObject **items         # SPARE_COUNT_MAX, of one size; NULL until there is one to keep
    int count


cdef object spare_bytes_take(SpareBytes *spare, Py_ssize_t length):
    """A bytes object of `length` bytes to be filled; an old one where there is one of that size."""
    cdef PyObject *item
    if spare.count == 0:
        return PyBytes_FromStringAndSize(NULL, length)
    if PyBytes_GET_SIZE(<object>spare.items[0]) != length:
        spare_bytes_drop(spare)
        return PyBytes_FromStringAndSize(NULL, length)
    spare.count -= 1
    item = spare.items[spare.count]
    forget_hash(item)
    data = <object>item
    Py_DECREF(data)
    return data


cdef inline void spare_bytes_offer(SpareBytes *spare, object data) noexcept:
    """Keep `data`, of which the caller holds the only reference and is about to drop it."""
    cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
    if (is_unshared(data) and SPARE_BYTES_MIN < length <= SPARE_BYTES_MAX
            and spare.count < SPARE_COUNT_MAX
            and (spare.count == 0 or PyBytes_GET_SIZE(<object>spare.items[0]) == length)):
        if spare.items == NULL:
            spare.items = <PyObject **>malloc(SPARE_COUNT_MAX * sizeof(PyObject *))
            if spare.items == NULL:
                return
        Py_INCREF(data)
        spare.items[spare.count] = <PyObject *>data
        spare.count += 1


cdef void spare_bytes_drop(SpareBytes *spare) noexcept:
    """Let go of all that is kept."""
    while spare.count:
        spare.count -= 1
        Py_DECREF(<object>spare.items[spare.count])


cdef void spare_bytes_free(SpareBytes *spare) noexcept:
    spare_bytes_drop(spare)
    free(spare.items)
    spare.items = NULL
