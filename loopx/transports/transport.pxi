# What a transport of a socket is apart from moving bytes: its protocol and context, its state,
# flow control, what it tells about itself, and how it ends.
# Only the loop's thread may touch it.
#
# States: connected -> closing (close, end of file: what is unsent still goes out)
#         connected, closing -> lost (nothing is left to do: connection_lost is scheduled)
#         lost -> closed (connection_lost was called and no operation is in flight any more:
#         only then is the descriptor closed, so that nobody can reuse it too early)

cdef enum:
    HIGH_WATER_BYTES = 65536
    WARN_AFTER_LOST_WRITES = 5        # as asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES

cdef str CONNECTION_MADE = "connection_made"
cdef str CONNECTION_LOST = "connection_lost"
cdef str EOF_RECEIVED = "eof_received"
cdef str DATA_RECEIVED = "data_received"
cdef str DATAGRAM_RECEIVED = "datagram_received"
cdef str ERROR_RECEIVED = "error_received"
cdef str BYTES_RECEIVED = "bytes_received"
cdef str PAUSE_WRITING = "pause_writing"
cdef str RESUME_WRITING = "resume_writing"
cdef str GET_BUFFER = "get_buffer"
cdef str BUFFER_UPDATED = "buffer_updated"


cdef class SocketTransport(SendingTransport):
    """Protocol, flow control, information and closing of a connected socket."""

    cdef BaseLoop loop
    cdef object protocol
    cdef object context               # contextvars.Context of the protocol's callbacks
    cdef object server                # loopx.server.Server, or None
    cdef object sock                  # socket.socket: given, or made when somebody asks
    cdef object peername              # None until known
    cdef object sockname
    cdef object __weakref__
    cdef Py_ssize_t unsent_bytes      # written, not yet taken by the kernel
    cdef Py_ssize_t high_water_bytes
    cdef Py_ssize_t low_water_bytes
    cdef Operation receive_operation
    cdef Operation send_operation
    cdef SocketAddress peer           # as accept(2) gave it, until asked for
    cdef int fd                       # -1 once closed
    cdef unsigned int lost            # 0 while connected or closing; then counts, with each write
    cdef unsigned char peer_length    # bytes of `peer`; 0: none
    cdef bint closing
    cdef bint paused                  # pause_reading
    cdef bint eof_written
    cdef bint protocol_paused
    cdef bint buffered_protocol
    cdef bint takes_bytes             # our own TLSProtocol: wants bytes_received(data)
    cdef bint lost_called             # connection_lost has been called
    cdef bint sock_given              # somebody else has the socket, and may close it

    def __cinit__(self):
        self.fd = -1
        self.high_water_bytes = HIGH_WATER_BYTES
        self.low_water_bytes = HIGH_WATER_BYTES // 4

    cdef int attach(self, BaseLoop loop, int fd, sock, protocol, context, server) except -1:
        """Become the transport of a connected, non-blocking descriptor, and own it."""
        self.loop = loop
        self.context = context
        self.server = server
        self.use_protocol(protocol)
        if server is not None:
            server._attach(self)
        loop.own_descriptor(fd, self)
        self.sock = sock
        self.sock_given = sock is not None
        self.fd = fd              # last: from here on the descriptor is ours to close
        return 0

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
        """Ask for what comes, unless that is asked already or nobody wants any."""
        raise NotImplementedError

    cdef int stop_receiving(self) except -1:
        if self.receive_operation.state != OPERATION_IDLE:
            self.loop.engine.cancel(&self.receive_operation)
        return 0

    cdef int use_protocol(self, protocol) except -1:
        self.protocol = protocol
        self.takes_bytes = getattr(protocol, "_takes_bytes", False) is True
        self.buffered_protocol = (not self.takes_bytes
                                  and isinstance(protocol, BufferedProtocol))
        return 0

    cdef inline int check_caller(self) except -1:
        """A transport belongs to its loop's process and, in debug mode, thread."""
        if self.loop.forked:
            self.loop.check_closed()
        if self.loop.debug:
            self.loop.check_thread()
        return 0

    cdef int report_if_slow(self, str method, double started) except -1:
        """Debug mode: a protocol's callback holds up the loop as any other does."""
        cdef double seconds = monotonic_seconds() - started
        if seconds >= self.loop.slow_callback_duration:
            logger.warning("Executing %r.%s() took %.3f seconds", self.protocol, method, seconds)
        return 0

    # ---- information ----------------------------------------------------------------------

    def get_protocol(self):
        """The protocol in use."""
        return self.protocol

    def set_protocol(self, protocol):
        """Use another protocol from now on."""
        self.check_caller()
        self.use_protocol(protocol)

    def is_closing(self):
        """True from close() or abort() on."""
        return self.closing

    def get_extra_info(self, name, default=None):
        """'socket' (TransportSocket), 'sockname' or 'peername', as asyncio has them."""
        if name == "peername":
            return self.remote_name()
        if name == "sockname":
            if self.sockname is None and self.fd >= 0:
                self.sockname = local_address(self.fd)
            return self.sockname
        if name == "socket":
            return TransportSocket(self.python_socket())
        return default

    cdef object remote_name(self):
        if self.peername is None:
            if self.peer_length:
                self.peername = address_to_python(&self.peer, self.peer_length)
            elif self.fd >= 0:
                self.peername = remote_address(self.fd)
        return self.peername

    cdef object python_socket(self):
        if self.sock is None:
            if self.fd >= 0:
                self.sock = socket.socket(fileno=self.fd)
                self.sock.setblocking(False)
            else:
                self.sock = socket.socket()
                self.sock.close()
        return self.sock

    def __repr__(self):
        info = [type(self).__name__]
        if self.fd < 0:
            info.append("closed")
        else:
            if self.closing:
                info.append("closing")
            info.append(f"fd={self.fd}")
            info.append("read=" + ("paused" if self.paused else "receiving"))
            info.append(f"write=<{'sending' if self.unsent_bytes else 'idle'}, "
                        f"bufsize={self.unsent_bytes}>")
        return "<{}>".format(" ".join(info))

    cdef inline bint descriptor_is_ours(self) except -1:
        """False when the socket was closed behind our back: the number may be another's now."""
        return not self.sock_given or self.sock.fileno() == self.fd

    def is_reading(self):
        """False after pause_reading, and from close() on."""
        return not self.closing and not self.paused

    def pause_reading(self):
        """Hand out no data until resume_reading(). Idempotent."""
        self.check_caller()
        if not self.closing and not self.paused:
            self.paused = True

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
        self.high_water_bytes = high
        self.low_water_bytes = low
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

    cdef int count_lost_write(self) except -1:
        if self.lost >= WARN_AFTER_LOST_WRITES:
            logger.warning("socket.send() raised exception.")
        self.lost += 1
        return 0

    # ---- ending ---------------------------------------------------------------------------

    cdef int become_lost(self, error) except -1:
        """Nothing is left to do: tell the protocol in the next turn, then close."""
        self.lost += 1
        if self.loop.closed:                  # nobody will be told any more
            self.lost_called = True
            self.close_descriptor()
            return self.loop.check_closed()
        self.loop.schedule(self._connection_lost, (error,), None)
        return 0

    def _connection_lost(self, error):
        protocol, self.protocol = self.protocol, None
        try:
            if protocol is not None:
                protocol.connection_lost(error)
        finally:
            self.lost_called = True
            self.close_descriptor_when_idle()
            server, self.server = self.server, None
            if server is not None:
                server._detach(self)

    cdef int close_descriptor_when_idle(self) except -1:
        """The kernel may not hold the descriptor any more when its number becomes free."""
        if (self.lost_called and self.fd >= 0
                and self.receive_operation.state == OPERATION_IDLE
                and self.send_operation.state == OPERATION_IDLE):
            self.close_descriptor()
        return 0

    cdef int close_descriptor(self) except -1:
        cdef int fd = self.fd
        if self.peername is None and not self.peer_length:
            self.peername = remote_address(fd)      # asked for after closing, too
        if self.sockname is None:
            self.sockname = local_address(fd)
        self.fd = -1
        self.loop.disown_descriptor(fd, self)
        if self.sock is None:
            posix_close(fd)
            return 0
        try:
            self.sock.close()
        except OSError as error:              # somebody else closed the descriptor
            self.loop.call_exception_handler({
                "message": "Closing a transport's socket failed",
                "exception": error,
                "transport": self,
            })
        return 0

    cdef int fatal_error(self, error, message) except -1:
        """Report what broke the connection, unless the network did, and close at once."""
        if isinstance(error, OSError):
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

    cdef int force_close(self, error) except -1:
        raise NotImplementedError

    def _force_close(self, error):
        self.force_close(error)

    def __del__(self):
        if self.fd < 0:
            return
        description = repr(self)
        self.close_descriptor()             # first: the warning may be turned into an error
        if self.server is not None:
            self.server._detach(self)
        if not self.loop.forked:
            warnings.warn(f"unclosed transport {description}", ResourceWarning, source=self)
