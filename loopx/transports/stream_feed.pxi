# What asyncio.StreamReader.feed_data does, and what is unread. Only the loop's thread may touch it.
#
# What comes while nothing is unread is not copied into the reader's buffer, unless it is bulk that
# nobody waits for: it is kept as it came, and a read of all of it hands it out. To Python code the
# reader's `_buffer` holds it as always (NativeStreamReader): looking at it puts it there.

cdef extern from "Python.h":
    object instance_dictionary "PyObject_GenericGetDict"(object instance, void *context)
    ctypedef struct ByteArray "PyByteArrayObject":
        Py_ssize_t ob_exports


cdef enum:
    PIECE_BYTES_MAX = 8192       # bulk may be in memory that the loop wants back: see keep_unread


@cython.final
@cython.no_gc
cdef class UnreadPiece:
    """What was received before all that is in the reader's buffer.

    Whoever uses it is in its critical section: without a GIL, any thread may look at a reader.
    """

    cdef bytes data                      # None: nothing
    cdef Py_ssize_t start                # bytes of it that were read

    cdef inline char *address(self) noexcept:
        return PyBytes_AS_STRING(self.data) + self.start

    cdef inline Py_ssize_t size(self) noexcept:
        return PyBytes_GET_SIZE(self.data) - self.start

    cdef bytes take(self, Py_ssize_t count):
        cdef bytes data = self.data
        if count == PyBytes_GET_SIZE(data):
            self.data = None
            return data
        data = PyBytes_FromStringAndSize(self.address(), count)
        self.start += count
        if self.size() == 0:
            self.data = None
        return data

    cdef int move_to(self, buffer) except -1:
        """Put it in front of what is in the buffer."""
        cdef Py_ssize_t size, length = PyByteArray_GET_SIZE(buffer)
        cdef char *start
        if self.data is not None:
            size = self.size()
            PyByteArray_Resize(buffer, size + length)
            start = PyByteArray_AS_STRING(buffer)
            memmove(start + size, start, length)
            memcpy(start, self.address(), size)
            self.data = None
        return 0


cdef UnreadPiece unread_piece(dict state):
    """A reader's piece. It is in the dictionary of its attributes, which may be written to."""
    piece = state.get("_unread_piece")
    if type(piece) is not UnreadPiece:
        piece = state["_unread_piece"] = UnreadPiece.__new__(UnreadPiece)
    return <UnreadPiece>piece


cdef Py_ssize_t keep_unread(UnreadPiece piece, buffer, bytes data, bint wanted) except -1:
    """Keep data behind what is unread; returns how much is.

    Bulk is kept as it came for who waits for it. Else it would keep its memory, of which a loop
    has little, and more than its length, until somebody comes for it.
    """
    if (piece.data is None and PyByteArray_GET_SIZE(buffer) == 0
            and (wanted or PyBytes_GET_SIZE(data) < PIECE_BYTES_MAX)
            and (<ByteArray *><void *>buffer).ob_exports == 0):    # else it takes nothing more
        piece.data = data
        piece.start = 0
        return PyBytes_GET_SIZE(data)
    piece.move_to(buffer)
    PySequence_InPlaceConcat(buffer, data)
    return PyByteArray_GET_SIZE(buffer)


cdef bint feed_reader(reader, bytes data) except -1:
    """Keep data, which is not empty, and wake who waits; False when that is for feed_data."""
    cdef dict state = instance_dictionary(reader, NULL)
    cdef UnreadPiece piece = unread_piece(state)
    cdef Py_ssize_t unread_bytes
    buffer = state["_buffer"]
    if state["_eof"] or not PyByteArray_CheckExact(buffer):
        return False
    waiter = state["_waiter"]
    with cython.critical_section(piece):
        unread_bytes = keep_unread(piece, buffer, data, waiter is not None)
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
