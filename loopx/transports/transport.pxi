# What a transport is apart from moving bytes: its protocol and context, its state, what is
# unsent and flow control, and how it ends.
# Only the loop's thread may touch it. It knows neither sockets nor pipes: those override.
#
# States: connected -> closing (close, end of file: what is unsent still goes out)
#         connected, closing -> lost (nothing is left to do: connection_lost is scheduled)
#         lost -> closed (connection_lost was called and no operation is in flight any more:
#         only then is the descriptor closed, so that nobody can reuse it too early)

cdef enum:
    HIGH_WATER_BYTES = 65536
    WARN_AFTER_LOST_WRITES = 5        # as asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES
    QUICK_CALL_BYTES = 16384          # releasing the GIL would take as long as to write these

cdef str CONNECTION_MADE = "connection_made"
cdef str CONNECTION_LOST = "connection_lost"
cdef str EOF_RECEIVED = "eof_received"
cdef str DATA_RECEIVED = "data_received"
cdef str PAUSE_WRITING = "pause_writing"
cdef str RESUME_WRITING = "resume_writing"
cdef str GET_BUFFER = "get_buffer"
cdef str BUFFER_UPDATED = "buffer_updated"


cdef class DescriptorTransport(SendingTransport):
    """Protocol, flow control, what is unsent and closing: of sockets and of pipes."""

    cdef BaseLoop loop
    cdef object protocol
    cdef object context               # contextvars.Context of the protocol's callbacks
    cdef object server                # loopx.server.Server, or None
    cdef object sending               # bytes at the head of what is unsent
    cdef list pieces                  # what follows it
    cdef object __weakref__
    cdef Py_ssize_t sent_bytes        # of `sending`
    cdef Py_ssize_t unsent_bytes      # written, not yet taken by the kernel
    cdef Py_ssize_t high_water_bytes
    cdef Py_ssize_t low_water_bytes
    cdef Operation receive_operation
    cdef Operation send_operation
    cdef int fd                       # -1 once closed
    cdef unsigned int lost            # 0 while connected or closing; then counts, with each write
    cdef bint closing
    cdef bint paused                  # pause_reading
    cdef bint protocol_paused
    cdef bint full                    # the last send found too little room: wait for more first
    cdef bint buffered_protocol
    cdef bint takes_bytes             # our own TLSProtocol: for receive_ciphertext
    cdef bint feeds_reader            # feed_stream_reader stands for its data_received
    cdef bint lost_called             # connection_lost has been called

    def __cinit__(self):
        self.fd = -1
        self.high_water_bytes = HIGH_WATER_BYTES
        self.low_water_bytes = HIGH_WATER_BYTES // 4

    cdef int use_protocol(self, protocol) except -1:
        with cython.critical_section(self):
            self.protocol = protocol
        self.takes_bytes = isinstance(protocol, TLSState)
        self.buffered_protocol = (not self.takes_bytes
                                  and isinstance(protocol, BufferedProtocol))
        self.feeds_reader = adopt_stream_reader(protocol, self.loop.debug)
        return 0

    cdef inline bint check_caller(self) except -1:
        """A transport belongs to its loop's process and, in debug mode, thread.

        True when the call must be handed over: without a GIL a call from another thread would
        tear what the loop's own is working on. Always False with one.
        """
        if self.loop.forked:
            self.loop.check_closed()
        if self.loop.debug:
            self.loop.check_thread()
        return self.loop.is_elsewhere()

    cdef object hand_over(self, method, tuple arguments):
        """Have the loop's thread make the call, in order."""
        self.loop.call_soon_threadsafe(method, *arguments)

    cdef int report_if_slow(self, str method, double started) except -1:
        """Debug mode: a protocol's callback holds up the loop as any other does."""
        cdef double seconds = monotonic_seconds() - started
        if seconds >= self.loop.slow_callback_duration:
            logger.warning("Executing %r.%s() took %.3f seconds", self.protocol, method, seconds)
        return 0

    # ---- beginning ------------------------------------------------------------------------

    cdef int connected(self) except -1:
        """Tell the protocol, then receive."""
        cdef double started = monotonic_seconds()
        try:
            self.protocol.connection_made(self)
        finally:
            self.receive()
        if self.loop.debug:
            self.report_if_slow(CONNECTION_MADE, started)
        return 0

    def _connected(self, waiter):
        try:
            self.connected()
        finally:
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    cdef int receive(self) except -1:
        """Start to listen to the peer, unless that is done already or nobody wants it."""
        raise NotImplementedError

    cdef int stop_receiving(self) except -1:
        if self.receive_operation.state != OPERATION_IDLE:
            self.loop.engine.cancel(&self.receive_operation)
        return 0

    # ---- what everybody asks --------------------------------------------------------------

    def get_protocol(self):
        """The protocol in use."""
        with cython.critical_section(self):
            return self.protocol

    def set_protocol(self, protocol):
        """Use another protocol from now on."""
        if self.check_caller():
            return self.hand_over(self.set_protocol, (protocol,))
        self.use_protocol(protocol)

    def is_closing(self):
        """True from close() or abort() on."""
        return self.closing

    # ---- flow control ---------------------------------------------------------------------

    def get_write_buffer_size(self):
        """Bytes written that the kernel has not taken yet."""
        return self.unsent_bytes

    def get_write_buffer_limits(self):
        """(low, high) water marks in bytes."""
        return (self.low_water_bytes, self.high_water_bytes)

    def set_write_buffer_limits(self, high=None, low=None):
        """Water marks in bytes; ValueError unless high >= low >= 0."""
        if high is None:
            high = HIGH_WATER_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        if self.check_caller():
            return self.hand_over(self.set_write_buffer_limits, (high, low))
        self.high_water_bytes = water_mark(high)
        self.low_water_bytes = water_mark(low)
        self.pause_protocol_if_full()

    cdef int pause_protocol_if_full(self) except -1:
        if self.unsent_bytes > self.high_water_bytes and not self.protocol_paused:
            self.protocol_paused = True
            self.tell_flow(PAUSE_WRITING)
        return 0

    cdef int resume_protocol_if_drained(self) except -1:
        if self.protocol_paused and self.unsent_bytes <= self.low_water_bytes:
            self.protocol_paused = False
            self.tell_flow(RESUME_WRITING)
        return 0

    cdef int tell_flow(self, str method) except -1:
        protocol = self.protocol
        try:
            getattr(protocol, method)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.loop.call_exception_handler({
                "message": f"protocol.{method}() failed",
                "exception": error,
                "transport": self,
                "protocol": protocol,
            })
        return 0

    # ---- what is unsent -------------------------------------------------------------------

    @cython.nonecheck(False)
    cdef inline int append(self, data, Py_ssize_t length) except -1:
        self.unsent_bytes += length
        self.loop.engine.writes += 1
        if self.sending is None:
            self.sending = data
            self.sent_bytes = 0
        elif self.pieces is None:
            self.pieces = [data]
        else:
            self.pieces.append(data)
        return 0

    cdef int join_pieces(self) except -1:
        """Make one piece of the small ones at the head, unless the first is half sent."""
        if self.sent_bytes == 0:
            self.sending = join_small(self.sending, self.pieces)
            self.pieces = self.pieces or None
        return 0

    @cython.nonecheck(False)
    cdef int send_inline(self) except -1:
        """Send without the ring what the kernel takes now. Nothing is in flight."""
        cdef ssize_t sent
        cdef int error
        cdef Gather gather
        cdef object kept                      # while the GIL is released
        cdef PyThreadState *released
        while self.sending is not None:
            if not self.descriptor_is_ours():
                return self.write_failed(EBADF)
            kept = self.gather(&gather)
            self.send_operation.state = OPERATION_BY_OWNER
            if self.never_blocks():
                released = (NULL if gather.length <= QUICK_CALL_BYTES
                            else release_gil_for_others(gather.length))
            else:
                released = PyEval_SaveThread()
            sent = self.write_some(&gather)
            error = errno
            take_gil_back(released)
            self.send_operation.state = OPERATION_IDLE
            self.loop.engine.system_calls += 1
            if self.lost:                     # another thread aborted meanwhile
                self.sending = self.pieces = None
                return self.close_descriptor_when_idle()
            if sent < 0:
                self.full = error == EAGAIN
                if error == EAGAIN or error == EINTR or error == ENOBUFS:
                    return 0
                return self.write_failed(error)
            self.advance(sent)
            self.full = sent < gather.length
            if self.full:
                return 0
        return 0

    cdef object gather(self, Gather *gather):
        """Name what is to be sent next; whoever sends it keeps what is returned."""
        gather_begin(gather, self.sending, self.sent_bytes, self.call_bytes_max())
        if self.pieces is not None:
            if gather_more(gather, self.pieces):
                return (self.sending, self.pieces[:gather.message.msg_iovlen - 1])
            self.join_pieces()
            gather_begin(gather, self.sending, self.sent_bytes, gather.bytes_max)
        return self.sending

    @cython.nonecheck(False)
    cdef void advance(self, Py_ssize_t sent) noexcept:
        """The kernel took the next `sent` bytes."""
        cdef Py_ssize_t rest, taken = 0
        self.unsent_bytes -= sent
        while self.sending is not None:
            rest = PyBytes_GET_SIZE(self.sending) - self.sent_bytes
            if sent < rest:
                self.sent_bytes += sent
                break
            sent -= rest
            self.sent_bytes = 0
            data, self.sending = self.sending, None
            self.loop.engine.take_back_bytes(data)
            if self.pieces is not None and taken < len(self.pieces):
                self.sending = self.pieces[taken]
                taken += 1
        if taken:
            del self.pieces[:taken]
            self.pieces = self.pieces or None

    cdef bint never_blocks(self) noexcept:
        """Whether write_some() may keep the GIL. Overridden."""
        return False                          # a pipe's O_NONBLOCK is also its other users'

    cdef Py_ssize_t call_bytes_max(self) noexcept:
        return CALL_BYTES_MAX                 # a message is not to be cut. Overridden

    cdef ssize_t write_some(self, Gather *gather) noexcept nogil:
        """send(2) or writev(2), not waiting: the bytes taken, or -1 and errno. Overridden."""
        return -1

    cdef int write_failed(self, int error) except -1:
        return self.fatal_error(OSError(error, os.strerror(error)),
                                f"Fatal write error on {self.noun()} transport")

    cdef int count_lost_write(self, str warning) except -1:
        if self.lost >= WARN_AFTER_LOST_WRITES:
            logger.warning(warning)
        self.lost += 1
        return 0

    # ---- ending ---------------------------------------------------------------------------

    cdef int become_lost(self, error) except -1:
        """Nothing is left to do: tell the protocol in the next turn, then close."""
        self.lost += 1
        if self.loop.closed:                  # nobody will be told any more
            self.lost_called = True
            self.close_descriptor()
            self.leave_server()
            return self.loop.check_closed()
        self.loop.schedule(self._connection_lost, (error,), None)
        return 0

    def _connection_lost(self, error):
        protocol = self.protocol
        with cython.critical_section(self):
            self.protocol = None
        try:
            if protocol is not None:
                protocol.connection_lost(error)
        finally:
            self.lost_called = True
            self.close_descriptor_when_idle()
            self.leave_server()

    cdef int leave_server(self) except -1:
        server, self.server = self.server, None
        if server is not None:
            server._detach(self)
        return 0

    cdef int close_descriptor_when_idle(self) except -1:
        """The kernel may not hold the descriptor any more when its number becomes free."""
        if (self.lost_called and self.fd >= 0
                and self.receive_operation.state == OPERATION_IDLE
                and self.send_operation.state == OPERATION_IDLE):
            self.close_descriptor()
        return 0

    cdef bint uses_descriptor(self) except -1:
        return not self.closing and self.descriptor_is_ours()

    cdef bint descriptor_is_ours(self) except -1:
        """False when it was closed behind our back: the number may be another's now."""
        raise NotImplementedError

    cdef int close_descriptor(self) except -1:
        raise NotImplementedError

    cdef str noun(self):
        """What the descriptor is, for messages."""
        raise NotImplementedError

    cdef int close_file(self, file) except -1:
        """Close the object that holds the descriptor, which somebody may have closed before."""
        try:
            file.close()
        except Exception as error:
            self.loop.call_exception_handler({
                "message": f"Closing a transport's {self.noun()} failed",
                "exception": error,
                "transport": self,
            })
        return 0

    cdef int fatal_error(self, error, message) except -1:
        """Report what broke the connection, unless the network did, and close at once."""
        if self.is_ordinary(error):
            if self.loop.debug:
                logger.debug("%r: %s", self, message, exc_info=True)
        else:
            self.loop.call_exception_handler({
                "message": message,
                "exception": error,
                "transport": self,
                "protocol": self.protocol,
            })
        return self.force_close(error)

    cdef bint is_ordinary(self, error) except -1:
        """Whether the network or the peer causes such errors."""
        return isinstance(error, OSError)

    cdef int force_close(self, error) except -1:
        raise NotImplementedError

    def _force_close(self, error):
        if self.check_caller():
            return self.hand_over(self._force_close, (error,))
        self.force_close(error)

    def __del__(self):
        if self.fd < 0:
            return
        description = repr(self)
        self.close_descriptor()             # first: the warning may be turned into an error
        self.leave_server()
        if not self.loop.forked:
            warnings.warn(f"unclosed transport {description}", ResourceWarning, source=self)


cdef Py_ssize_t water_mark(bytes_or_more) except -1:
    """A mark as asyncio takes it: fractions do not count, and it may be infinite."""
    return PY_SSIZE_T_MAX if bytes_or_more >= PY_SSIZE_T_MAX else int(bytes_or_more)
