# What asyncio.StreamReaderProtocol.data_received does, without its Python code, which with that of
# StreamReader.feed_data (stream_feed.pxi) is three calls of Python functions for each piece of
# data. Only the loop's thread may touch it. Whatever is not as asyncio made it takes the ordinary
# way.

cdef tuple REPLACED_METHODS = (
    (StreamReaderProtocol, "data_received"), (StreamReader, "feed_data"),
    (StreamReader, "_wakeup_waiter"), (StreamReader, "_wait_for_data"),
    (StreamReader, "_maybe_resume_transport"),
    *[(StreamReader, name) for name in READS])
cdef dict STREAMS_GLOBALS = vars(asyncio.streams)


cdef bint checked_streams(kind) except -1:
    if kind not in ("native", "asyncio"):
        raise ValueError(f"LOOPX_STREAMS must be 'native' or 'asyncio', got {kind!r}")
    return kind == "native"

cdef bint STREAMS_ARE_NATIVE = checked_streams(os.environ.get("LOOPX_STREAMS") or "native")

cdef bint adopt_stream_reader(protocol, bint debug) except -1:
    """Make this protocol's reader native; True if feed_stream_reader may feed it from now on."""
    if type(protocol) is not StreamReaderProtocol or debug or not STREAMS_ARE_NATIVE:
        return False
    reference = protocol._stream_reader_wr
    reader = None if reference is None else reference()
    if type(reader) is StreamReader:
        for owner, name in REPLACED_METHODS:     # somebody may have put a wrapper in its place
            if getattr(getattr(owner, name), "__globals__", None) is not STREAMS_GLOBALS:
                return False
        reader.__class__ = NativeStreamReader
    return type(reader) is NativeStreamReader


cdef bint feed_stream_reader(protocol, bytes data) except -1:
    """Hand data to the protocol's reader; False when that is for data_received."""
    reference = protocol._stream_reader_wr
    if reference is None:
        return False
    reader = reference()
    if type(reader) is not NativeStreamReader:
        return False
    return feed_reader(reader, data)
