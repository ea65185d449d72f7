# What asyncio.StreamReader.feed_data does, and what is unread. Only the loop's thread may touch it.
#
# What comes while nothing is unread is not copied into the reader's buffer: it is kept as it came,
# and a read of all of it hands it out. To Python code the reader's `_buffer` holds it as always
# (NativeStreamReader): looking at it puts it there.

cdef extern from "Python.h":
    object instance_dictionary "PyObject_GenericGetDict"(object instance, void *context)
    ctypedef struct ByteArray "PyByteArrayObject":
        Py_ssize_t ob_exports


@cython.final
@cython.no_gc
cdef class UnreadPiece:
    """What was received and is not in the reader's buffer, which is empty meanwhile."""

    cdef bytes data                      # None: nothing
    cdef Py_ssize_t start                # bytes of it that were read

    cdef inline char *address(self) noexcept:
        return PyBytes_AS_STRING(self.data) + self.start

    cdef inline Py_ssize_t size(self) noexcept:
        return PyBytes_GET_SIZE(self.data) - self.start

    cdef bytes take(self, Py_ssize_t count):
        cdef bytes data = self.data
        cdef Py_ssize_t rest
        if count == PyBytes_GET_SIZE(data):
            self.data = None
            return data
        data = PyBytes_FromStringAndSize(self.address(), count)
        self.start += count
        rest = self.size()
        if rest == 0:
            self.data = None
        elif rest < self.start:              # as a buffer shrinks: what was read is not held
            self.data = PyBytes_FromStringAndSize(self.address(), rest)
            self.start = 0
        return data

    cdef int move_to(self, buffer) except -1:
        cdef Py_ssize_t size, before = PyByteArray_GET_SIZE(buffer)
        if self.data is not None:
            size = self.size()
            PyByteArray_Resize(buffer, before + size)
            memcpy(PyByteArray_AS_STRING(buffer) + before, self.address(), size)
            self.data = None
        return 0


cdef UnreadPiece unread_piece(dict state):
    """A reader's piece. It is in the dictionary of its attributes, which may be written to."""
    piece = state.get("_unread_piece")
    if type(piece) is not UnreadPiece:
        piece = state["_unread_piece"] = UnreadPiece.__new__(UnreadPiece)
    return <UnreadPiece>piece


cdef bint feed_reader(reader, bytes data) except -1:
    """Keep data, which is not empty, and wake who waits; False when that is for feed_data."""
    cdef dict state = instance_dictionary(reader, NULL)
    cdef UnreadPiece piece = unread_piece(state)
    cdef Py_ssize_t unread_bytes = PyBytes_GET_SIZE(data)
    buffer = state["_buffer"]
    if state["_eof"] or not PyByteArray_CheckExact(buffer):
        return False
    if (piece.data is None and PyByteArray_GET_SIZE(buffer) == 0
            and (<ByteArray *><void *>buffer).ob_exports == 0):    # else it takes nothing more
        piece.data = data
        piece.start = 0
    else:
        piece.move_to(buffer)
        PySequence_InPlaceConcat(buffer, data)
        unread_bytes = PyByteArray_GET_SIZE(buffer)
    waiter = state["_waiter"]
    if waiter is not None:
        state["_waiter"] = None
        if not waiter.cancelled():
            waiter.set_result(None)
    if unread_bytes > 2 * state["_limit"] and not state["_paused"]:
        pause_for_reader(reader)
    return True


cdef int pause_for_reader(reader) except -1:
    if reader._transport is not None:
        try:
            reader._transport.pause_reading()
        except NotImplementedError:
            reader._transport = None           # it cannot be paused: never mind from here on
        else:
            reader._paused = True
    return 0
