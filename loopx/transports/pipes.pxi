# The transports of pipes, FIFOs, terminals and other character devices, and of sockets that are
# used as pipes. Only the loop's thread may touch them. They never hand bytes to the ring: a read
# of it could reach one of the kernel's worker threads, and a cancelled one could have taken data.
#
# Both wait by a one-shot poll in the turn's submission, then call read(2) or write(2). A write
# is tried at once and the poll waits for room for the rest; a second poll notices that the
# reader has gone. The descriptor is the file object's: it closes it, and only once.

cdef enum:
    PIPE_READ_BYTES_MIN = 65536       # what a pipe holds unless it was made larger
    PIPE_READ_BYTES_MAX = 131072      # what a StreamReader takes before it pauses
    PIPE_BYTES = 262144               # of one that was made larger
    PIPES_ENLARGED_MAX = 32           # a loop's, at the same time
    MESSAGE_BYTES_MAX = 262144        # of what is read whole or loses its rest; as asyncio's


cdef class PipeTransport(DescriptorTransport):
    """What both ends share: the file object, and whether it can be used at all."""

    cdef object pipe
    cdef bint is_device               # a terminal or another character device

    cdef int take_over(self, BaseLoop loop, pipe, protocol, waiter, extra, str refusal) except -1:
        """Own the file object and schedule connection_made; ValueError for a regular file."""
        cdef stat_result status
        cdef int fd = pipe.fileno()
        loop.check_closed()
        protocol.connection_made              # AttributeError for what is no protocol
        if posix_fstat(fd, &status) < 0:
            raise_os_error("fstat")
        if not (S_ISFIFO(status.st_mode) or S_ISSOCK(status.st_mode) or S_ISCHR(status.st_mode)):
            raise ValueError(refusal)
        self.is_device = S_ISCHR(status.st_mode)
        os.set_blocking(fd, False)
        self.receive_operation.fd = self.send_operation.fd = fd
        self.loop = loop
        self.context = PyContext_CopyCurrent()
        self.use_protocol(protocol)
        self._extra = {} if extra is None else extra
        self._extra["pipe"] = pipe
        self.pipe = pipe
        self.fd = fd              # last: from here on the descriptor is ours to close
        loop.schedule(self._connected, (waiter,), self.context)
        return 0

    cdef str noun(self):
        return "pipe"

    cdef bint descriptor_is_ours(self) except -1:
        try:
            return self.pipe.fileno() == self.fd
        except Exception:                     # ValueError is what a closed file object says
            return False

    cdef int become_lost(self, error) except -1:
        self.stop_receiving()
        if self.send_operation.state != OPERATION_IDLE:
            self.loop.engine.cancel(&self.send_operation)
        return DescriptorTransport.become_lost(self, error)

    cdef int force_close(self, error) except -1:
        if self.lost:
            return 0
        self.closing = True
        self.unsent_bytes = 0
        self.sending = self.pieces = None
        return self.become_lost(error)

    cdef int close_descriptor(self) except -1:
        self.fd = -1
        return self.close_file(self.pipe)

    cdef int ready(self, Operation *operation, int result) except -1:
        """The completion of a poll."""
        raise NotImplementedError

    cdef str activity(self):
        """What it is doing, for __repr__."""
        raise NotImplementedError

    def __repr__(self):
        name = type(self).__name__
        if self.fd < 0:
            return f"<{name} closed>"
        return f"<{name} {'closing' if self.closing else 'open'} fd={self.fd} {self.activity()}>"


cdef class ReadPipeTransport(PipeTransport, AsyncioReadTransport):
    """What connect_read_pipe gives: hands what can be read to a protocol."""

    cdef Py_ssize_t read_bytes        # what the next read asks for
    cdef bint is_enlarged

    cdef str activity(self):
        return "paused" if self.paused else "reading"

    cdef bint is_ordinary(self, error) except -1:
        """EIO is how a terminal says that its other side is gone."""
        return isinstance(error, OSError) and error.errno == EIO

    # ---- reading --------------------------------------------------------------------------

    cdef int receive(self) except -1:
        if self.receive_operation.state != OPERATION_IDLE or self.paused or self.closing:
            return 0
        return self.loop.engine.submit(&self.receive_operation)

    cdef int ready(self, Operation *operation, int result) except -1:
        if self.closing or self.paused or result == -ECANCELED:
            return 0
        data = EBADF
        if result < 0:
            data = -result
        elif self.descriptor_is_ours():
            data = receive_bytes(self.fd, self.read_bytes, posix_read)
            self.loop.engine.system_calls += 1
        if data is None:
            return 0
        if type(data) is int:
            return self.fatal_error(OSError(data, os.strerror(data)),
                                    "Fatal read error on pipe transport")
        if PyBytes_GET_SIZE(data) == 0:
            self.closing = True
            self.loop.schedule(self._end_of_file, (), None)
            return self.become_lost(None)
        if PyBytes_GET_SIZE(data) == self.read_bytes and self.read_bytes < PIPE_READ_BYTES_MAX:
            if self.read_bytes == PIPE_READ_BYTES_MIN:
                self.enlarge_pipe()
            self.read_bytes *= 2
        return self.deliver(data)

    cdef void enlarge_pipe(self) noexcept:
        """Have a pipe that was full, and is as large as they are made, hold more.

        A writer waits where it is full, and a reader that has to wake makes it wait for long. Few
        at a time: the kernel lets a user have 64 MiB of pipes, and makes those beyond it small.
        """
        if (self.loop.pipes_enlarged < PIPES_ENLARGED_MAX
                and fcntl(self.fd, F_GETPIPE_SZ) == PIPE_READ_BYTES_MIN    # -1: it is no pipe
                and fcntl(self.fd, F_SETPIPE_SZ, PIPE_BYTES) >= 0):
            self.is_enlarged = True
            self.loop.pipes_enlarged += 1

    cdef int close_descriptor(self) except -1:
        self.loop.pipes_enlarged -= self.is_enlarged
        self.is_enlarged = False
        return PipeTransport.close_descriptor(self)

    def _end_of_file(self):
        self.protocol.eof_received()          # what it returns does not count: a pipe is over

    cdef int deliver(self, data) except -1:
        """As with asyncio, and other than with sockets, a protocol that raises is kept."""
        cdef double started = monotonic_seconds() if self.loop.debug else 0
        try:
            self.protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.loop.call_exception_handler({
                "message": "Exception in callback protocol.data_received()",
                "exception": error,
                "transport": self,
                "protocol": self.protocol,
            })
        if started:
            self.report_if_slow(DATA_RECEIVED, started)
        return 0

    def is_reading(self):
        """False after pause_reading, and from close() or the end on."""
        return not self.closing and not self.paused

    def pause_reading(self):
        """Read no more until resume_reading(): the pipe fills and its writer waits. Idempotent."""
        if self.check_caller():
            return self.hand_over(self.pause_reading, ())
        if not self.closing:
            self.paused = True
            self.stop_receiving()         # the poll would keep a forgotten transport alive

    def resume_reading(self):
        """Undo pause_reading(). Idempotent."""
        if self.check_caller():
            return self.hand_over(self.resume_reading, ())
        if not self.closing and self.paused:
            self.paused = False
            self.receive()

    def close(self):
        """Read no more and close. Idempotent."""
        if self.check_caller():
            return self.hand_over(self.close, ())
        self.force_close(None)


cdef class WritePipeTransport(PipeTransport, AsyncioTransport):
    """What connect_write_pipe gives: writes to a pipe, and notices when nobody reads it."""

    cdef str activity(self):
        return f"{'writing' if self.unsent_bytes else 'idle'} bufsize={self.unsent_bytes}"

    cdef int receive(self) except -1:
        """Nothing is read, but that the reader goes is noticed; a device's writes tell it."""
        if self.receive_operation.state != OPERATION_IDLE or self.lost or self.is_device:
            return 0
        return self.loop.engine.submit(&self.receive_operation)

    cdef int ready(self, Operation *operation, int result) except -1:
        if self.lost:
            return 0
        if result == -ECANCELED:
            return self.send_on()
        if result < 0:
            return self.write_failed(-result)
        return self.writable() if operation == &self.send_operation else self.reader_gone()

    cdef int reader_gone(self) except -1:
        return self.force_close(BrokenPipeError() if self.unsent_bytes else None)

    # ---- writing --------------------------------------------------------------------------

    def write(self, data):
        """Write bytes-like `data`; returns at once. A mutable buffer is copied."""
        cdef Py_ssize_t length
        if self.check_caller():
            return self.hand_over(self.write, (copied(data),))
        if not PyBytes_CheckExact(data):
            data = copied(data)
        length = PyBytes_GET_SIZE(data)
        if length == 0:
            return
        if self.lost:
            self.count_lost_write("pipe closed by peer or os.write(pipe, data) raised exception.")
        if self.closing:
            return
        self.append(data, length)
        if self.unsent_bytes == length:       # else the poll waits already
            self.send_inline()
            self.send_on()
        self.pause_protocol_if_full()

    cdef ssize_t write_some(self, Gather *gather) noexcept nogil:
        return posix_writev(self.fd, gather.parts, <int>gather.message.msg_iovlen)

    cdef int send_on(self) except -1:
        """Wait for room for the rest; or end, when close() waited for the last byte."""
        if self.lost:
            return 0
        if self.sending is None:
            return self.become_lost(None) if self.closing else 0
        if self.send_operation.state != OPERATION_IDLE:
            return 0
        return self.loop.engine.submit(&self.send_operation)

    cdef int writable(self) except -1:
        self.send_inline()
        try:
            if not self.lost:
                self.resume_protocol_if_drained()
        finally:                              # resume_writing may raise KeyboardInterrupt
            self.send_on()
        return 0

    def can_write_eof(self):
        """True: closing the pipe is the end of the file for its reader."""
        return True

    def write_eof(self):
        """Close after what was written before: the same as close(). Idempotent."""
        if self.check_caller():
            return self.hand_over(self.write_eof, ())
        if self.closing:
            return
        self.closing = True
        if self.sending is None:
            self.become_lost(None)

    def close(self):
        """Write what is unsent, then close. Idempotent."""
        self.write_eof()

    def abort(self):
        """Close at once, dropping what the pipe had no room for."""
        if self.check_caller():
            return self.hand_over(self.abort, ())
        self.force_close(None)


cdef int on_pipe_ready(Operation *operation, int result, unsigned int flags) except -1:
    """The completion of any poll of a pipe."""
    cdef PipeTransport transport = <PipeTransport>operation.owner
    PyContext_Enter(transport.context)
    try:
        transport.ready(operation, result)
    finally:
        PyContext_Exit(transport.context)
        transport.receive()
        transport.close_descriptor_when_idle()
    return 0


cdef ReadPipeTransport make_read_pipe_transport(BaseLoop loop, pipe, protocol, waiter, extra):
    cdef ReadPipeTransport transport = ReadPipeTransport.__new__(ReadPipeTransport)
    operation_init(&transport.receive_operation, transport, on_pipe_ready, -1)
    transport.receive_operation.kind = POLL
    transport.receive_operation.events = POLLIN
    transport.take_over(loop, pipe, protocol, waiter, extra,
                        "Pipe transport is for pipes/sockets only.")
    transport.read_bytes = (MESSAGE_BYTES_MAX if has_messages(transport.fd)
                            else PIPE_READ_BYTES_MIN)
    return transport


cdef WritePipeTransport make_write_pipe_transport(BaseLoop loop, pipe, protocol, waiter, extra):
    cdef WritePipeTransport transport = WritePipeTransport.__new__(WritePipeTransport)
    operation_init(&transport.receive_operation, transport, on_pipe_ready, -1)
    operation_init(&transport.send_operation, transport, on_pipe_ready, -1)
    transport.receive_operation.kind = transport.send_operation.kind = POLL
    transport.receive_operation.events = POLLRDHUP       # besides errors, which always tell
    transport.send_operation.events = POLLOUT
    transport.take_over(loop, pipe, protocol, waiter, extra,
                        "Pipe transport is only for pipes, sockets and character devices")
    return transport
