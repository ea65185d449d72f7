# The self-pipe that Python's signal module writes to (signal.set_wakeup_fd).
# It ends a wait the moment a signal comes, also one that came just before the wait began; and it
# carries the signals' numbers to the loop, whichever thread that runs on.

@cython.final
cdef class SignalPipe:
    """A non-blocking socket pair, watched by the loop from start() to close()."""

    cdef Operation operation
    cdef BaseLoop loop
    cdef object reader
    cdef object writer

    cdef int start(self, BaseLoop loop) except -1:
        self.reader, self.writer = socket.socketpair()
        self.reader.setblocking(False)
        self.writer.setblocking(False)
        operation_init(&self.operation, self, on_signal_bytes, self.reader.fileno())
        self.operation.kind = POLL
        self.operation.events = POLLIN
        self.loop = loop
        try:
            loop.engine.submit(&self.operation)
        except BaseException:                 # no descriptor left for a ring
            self.close()
            raise
        return 0

    cdef int close(self) except -1:
        self.reader.close()
        self.writer.close()
        return 0


cdef int on_signal_bytes(Operation *operation, int result, unsigned int flags) except -1:
    cdef SignalPipe pipe = <SignalPipe>operation.owner
    if result < 0:
        return 0
    try:
        data = pipe.reader.recv(4096)
    except (BlockingIOError, InterruptedError):
        data = b""
    pipe.loop.engine.submit(operation)
    PyErr_CheckSignals()              # Python's own handlers, such as Ctrl-C's
    if data:
        pipe.loop._on_signal_bytes(data)
    return 0
