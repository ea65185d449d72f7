# asyncio.StreamReader's reads without their coroutines. A reader of asyncio's that a transport
# feeds is made a NativeStreamReader, which adds only these methods and the piece that is unread
# (stream_feed.pxi): all else stays where asyncio has it. Only the common course is here: enough
# data, or a wait for it. Whatever else comes (the end, an error, a limit, an odd argument) is left
# to asyncio's own coroutine, begun in its place. Only the loop's thread may touch it.

cdef enum ReadKind:
    READ_SOME
    READ_EXACTLY
    READ_UNTIL
    READ_LINE

cdef enum:
    READ_BYTES_MAX = 0x7fffffff

cdef extern from *:
    """
    /* For values that StopIteration does not take apart: neither tuples nor exceptions. */
    static int loopx_return_value(PyObject *value) {
        PyErr_SetObject(PyExc_StopIteration, value);
        return 0;
    }
    #define loopx_set_iternext(type, function) (((PyTypeObject *)(type))->tp_iternext = (function))
    """
    ctypedef PyObject *(*IterNext "iternextfunc")(PyObject *self)
    int return_value "loopx_return_value"(object value)
    void set_iternext "loopx_set_iternext"(object type, IterNext function) noexcept

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1

cdef extern from "<string.h>" nogil:
    void *memmem(const void *haystack, size_t length, const void *needle, size_t needle_length)

cdef object AsyncioStreamReader = StreamReader
cdef tuple READS = ("read", "readexactly", "readuntil", "readline")      # by ReadKind
cdef tuple ASYNCIO_READS = tuple([getattr(StreamReader, name) for name in READS])


# Its fields are needed until it is freed; what it is in a cycle with can be cleared instead.
@cython.final
@cython.freelist(64)
@cython.no_gc_clear
cdef class StreamRead:
    """One read of a StreamReader: a coroutine to whoever awaits it, or makes a task of it."""

    cdef object reader
    cdef dict state                      # the reader's attributes
    cdef object argument
    cdef object waiter                   # the future that is awaited
    cdef object coroutine                # asyncio's own, once the course is not the common one
    cdef Py_ssize_t scanned              # bytes of the buffer without a separator
    cdef ReadKind kind
    cdef bint begun
    cdef bint waited
    cdef bint over

    @property
    def __name__(self):
        return READS[<int>self.kind]

    @property
    def __qualname__(self):
        return f"StreamReader.{READS[<int>self.kind]}"

    def __await__(self):
        if self.waiter is not None:
            raise RuntimeError("coroutine is being awaited already")
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        """Go on; returns the future to wait for. StopIteration has what was read."""
        if value is not None and not self.begun:
            raise TypeError("can't send non-None value to a just-started coroutine")
        awaited = <object>stream_read_next(<PyObject *>self)
        Py_DECREF(awaited)                   # the reference that it gave
        return awaited

    def throw(self, kind, value=None, traceback=None):
        """Raise where it waits, which ends it."""
        if value is None and not isinstance(kind, type):
            value = kind
        elif not isinstance(value, kind):
            arguments = () if value is None else value if isinstance(value, tuple) else (value,)
            value = kind(*arguments)
        if self.coroutine is not None:         # one argument: more of them are deprecated
            return self.coroutine.throw(value if traceback is None
                                        else value.with_traceback(traceback))
        if self.over:
            raise RuntimeError("cannot reuse already awaited coroutine")
        self.finish()
        raise value if traceback is None else value.with_traceback(traceback)

    def close(self):
        """End it, whether it waits or has not begun."""
        if self.coroutine is not None:
            self.coroutine.close()
        self.finish()

    cdef int finish(self) except -1:
        if self.waiter is not None:
            self.waiter = None
            self.state["_waiter"] = None
        self.begun = self.over = True
        return 0

    def __dealloc__(self):
        if not self.begun:
            warn_never_awaited(self.__qualname__)
        self.finish()


cdef int warn_never_awaited(str name) except -1:
    warnings.warn(f"coroutine '{name}' was never awaited", RuntimeWarning)
    return 0


cdef PyObject *stream_read_next(PyObject *pointer) except? NULL:
    """Its tp_iternext: a new reference to the future to wait for, or NULL and StopIteration."""
    cdef StreamRead self = <StreamRead>pointer
    cdef dict state = self.state
    cdef UnreadPiece piece
    if self.coroutine is not None:
        return go_on_in_asyncio(self)
    if self.over:
        raise RuntimeError("cannot reuse already awaited coroutine")
    self.begun = True
    waiter = self.waiter
    if waiter is not None:
        if not waiter.done():
            raise RuntimeError("coroutine is being awaited already")
        self.finish()
        waiter.result()
    elif state["_exception"] is not None:
        return leave_to_asyncio(self)
    buffer = state["_buffer"]
    if not PyByteArray_CheckExact(buffer):
        return leave_to_asyncio(self)
    self.over = True                         # unless there is more to wait for
    piece = unread_piece(state)
    with cython.critical_section(piece):
        data = take_unread(self, piece, buffer)
    if data is not None:
        return_value(data)
        return NULL
    if self.scanned < 0 or state["_eof"] or state["_waiter"] is not None:
        return leave_to_asyncio(self)
    if state["_paused"]:
        state["_paused"] = False
        state["_transport"].resume_reading()
    waiter = state["_loop"].create_future()
    self.waiter = state["_waiter"] = waiter
    self.waited, self.over = True, False
    waiter._asyncio_future_blocking = True   # as `await` says it to a task
    Py_INCREF(waiter)
    return <PyObject *>waiter


cdef bytes take_unread(StreamRead self, UnreadPiece piece, buffer):
    """What was asked for; None if it is not all there, with `scanned` below 0 past the limit."""
    bound = self.state["_limit"]               # infinity, at times; before looking at the buffer
    if piece.data is not None and PyByteArray_GET_SIZE(buffer):
        piece.move_to(buffer)                  # somebody wrote to a buffer of before
    cdef bint in_piece = piece.data is not None
    cdef char *start = piece.address() if in_piece else PyByteArray_AS_STRING(buffer)
    cdef Py_ssize_t size = piece.size() if in_piece else PyByteArray_GET_SIZE(buffer)
    cdef Py_ssize_t count, separator_size
    cdef long long limit
    cdef int beyond = 0
    cdef char *found
    if self.kind == READ_LINE or self.kind == READ_UNTIL:
        separator_size = PyBytes_GET_SIZE(self.argument)
        if size - self.scanned < separator_size:
            return None
        limit = PyLong_AsLongLongAndOverflow(bound, &beyond) if type(bound) is int else -1
        found = <char *>memmem(start + self.scanned, size - self.scanned,
                               PyBytes_AS_STRING(self.argument), separator_size)
        count = found - start if found != NULL else size + 1 - separator_size
        if count > limit and not beyond:
            self.scanned = -1
            return None
        if found == NULL:
            self.scanned = count
            return None
        count += separator_size
    else:
        count = self.argument
        # read() waits once, even if another read then takes what came.
        if size < count and (self.kind == READ_EXACTLY or (size == 0 and not self.waited)):
            return None
        count = min(count, size)
    if in_piece and count < size and PyBytes_GET_SIZE(piece.data) >= PIECE_BYTES_MAX:
        piece.move_to(buffer)                  # nobody may come for the rest for long
        in_piece = False
    if in_piece:
        data = piece.take(count)
    else:
        data = PyBytes_FromStringAndSize(PyByteArray_AS_STRING(buffer), count)
        if count == size:
            PyByteArray_Resize(buffer, 0)
        else:
            PySequence_DelSlice(buffer, 0, count)
    if self.state["_paused"] and size - count <= bound:
        self.state["_paused"] = False
        self.state["_transport"].resume_reading()
    return data


cdef PyObject *leave_to_asyncio(StreamRead self) except? NULL:
    read = ASYNCIO_READS[<int>self.kind]
    if self.kind == READ_LINE:
        self.coroutine = read(self.reader)
    else:
        self.coroutine = read(self.reader, self.argument)
    if not self.waited:
        return go_on_in_asyncio(self)
    # One that has waited does not look again for an exception that was set since.
    exception, self.state["_exception"] = self.state["_exception"], None
    try:
        return go_on_in_asyncio(self)
    finally:
        self.state["_exception"] = exception


cdef PyObject *go_on_in_asyncio(StreamRead self) except? NULL:
    awaited = self.coroutine.send(None)
    Py_INCREF(awaited)
    return <PyObject *>awaited


# Cython's own would add a traceback to each StopIteration.
set_iternext(StreamRead, <IterNext>stream_read_next)


cdef StreamRead begin_read(reader, ReadKind kind, argument):
    cdef StreamRead read = StreamRead.__new__(StreamRead)
    read.reader = reader
    read.state = instance_dictionary(reader, NULL)
    read.kind = kind
    read.argument = argument
    return read


class NativeStreamReader(StreamReader):
    """asyncio.StreamReader whose usual reads take no coroutine."""

    __slots__ = ()                           # else no StreamReader could be made one

    @property
    def _buffer(self):
        cdef dict state = instance_dictionary(self, NULL)
        cdef UnreadPiece piece = unread_piece(state)
        buffer = state["_buffer"]
        if PyByteArray_CheckExact(buffer):
            with cython.critical_section(piece):
                piece.move_to(buffer)
        return buffer

    @_buffer.setter
    def _buffer(self, buffer):
        cdef dict state = instance_dictionary(self, NULL)
        cdef UnreadPiece piece = unread_piece(state)
        with cython.critical_section(piece):
            piece.data = None
            state["_buffer"] = buffer

    def feed_data(self, data):
        if type(data) is not bytes or not data or not feed_reader(self, data):
            AsyncioStreamReader.feed_data(self, data)

    def read(self, n=-1):
        if type(n) is int and 0 < n <= READ_BYTES_MAX:
            return begin_read(self, READ_SOME, n)
        return AsyncioStreamReader.read(self, n)

    def readexactly(self, n):
        if type(n) is int and 0 < n <= READ_BYTES_MAX:
            return begin_read(self, READ_EXACTLY, n)
        return AsyncioStreamReader.readexactly(self, n)

    def readuntil(self, separator=b"\n"):
        if type(separator) is bytes and separator:
            return begin_read(self, READ_UNTIL, separator)
        return AsyncioStreamReader.readuntil(self, separator)

    def readline(self):
        return begin_read(self, READ_LINE, b"\n")


for native_read in READS:
    native_read = getattr(NativeStreamReader, native_read)
    native_read.__doc__ = getattr(StreamReader, native_read.__name__).__doc__
    native_read._is_coroutine = getattr(asyncio.coroutines, "_is_coroutine", None)
    if hasattr(inspect, "markcoroutinefunction"):
        inspect.markcoroutinefunction(native_read)
del native_read
