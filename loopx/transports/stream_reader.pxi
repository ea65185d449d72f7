# What asyncio.StreamReaderProtocol.data_received and StreamReader.feed_data do, without their
# Python code: three calls of Python functions for each piece of data. Only the loop's thread may
# touch it. Whatever is not as asyncio made it takes the ordinary way.

cdef tuple FED_METHODS = ((StreamReaderProtocol, "data_received"), (StreamReader, "feed_data"),
                          (StreamReader, "_wakeup_waiter"))
cdef dict STREAMS_GLOBALS = vars(asyncio.streams)


cdef bint feeds_stream_reader(protocol) except -1:
    """Whether feed_stream_reader may stand for this protocol's data_received."""
    if type(protocol) is not StreamReaderProtocol:
        return False
    for owner, name in FED_METHODS:          # somebody may have put a wrapper in its place
        if getattr(getattr(owner, name), "__globals__", None) is not STREAMS_GLOBALS:
            return False
    return True


cdef bint feed_stream_reader(protocol, bytes data) except -1:
    """Append to the reader's buffer and wake who waits; False when that is for data_received."""
    reference = protocol._stream_reader_wr
    if reference is None:
        return False
    reader = reference()
    if type(reader) is not StreamReader or reader._eof:
        return False
    buffer = reader._buffer
    if not PyByteArray_CheckExact(buffer):
        return False
    PySequence_InPlaceConcat(buffer, data)
    waiter = reader._waiter
    if waiter is not None:
        reader._waiter = None
        if not waiter.cancelled():
            waiter.set_result(None)
    if PyByteArray_GET_SIZE(buffer) > 2 * reader._limit and not reader._paused:
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
