# The transport of TCP and Unix streams: receiving and sending by completions.
# Only the loop's thread may touch it. The acceptor and connect.py make it.
#
# Receiving. Small traffic: a multishot receive into provided buffers, so that an idle connection
# pins none. Bulk: when a batch brings BULK_BYTES, the multishot is cancelled and the transport
# waits for readiness instead, then receives up to 256 KiB straight into the object that it hands
# out; BULK_SMALL_READS small reads in a row lead back. Pausing cancels lazily: only when data
# comes, which is then held until resume_reading.
#
# Sending. What is written in a turn waits in `pieces` and leaves with the turn's submission; one
# send is in flight at a time, and what is written meanwhile goes out together when it completes.
# Past the high-water mark an inline send is tried first, so that a protocol is paused only when
# the socket's own buffer is full, as with asyncio. `sending` is the bytes in flight, or the rest
# of what an inline send left; the kernel reads it until the send's completion.

cdef enum:
    BULK_BYTES = 32768
    BULK_RECEIVE_BYTES_MIN = 65536
    BULK_RECEIVE_BYTES_MAX = 262144
    BULK_SMALL_BYTES = 8192
    BULK_SMALL_READS = 8
    JOIN_BYTES = 65536           # pieces up to this many bytes together are copied into one
    SEND_BYTES_MAX = 1 << 30     # an operation's length is 32 bits
    QUIET_BYTES_MAX = 16384      # more is not kept in memory until a wait ends by itself


cdef class StreamTransport(SocketTransport):
    """A connected stream socket (asyncio.Transport)."""

    cdef list held               # received while paused: bytes, None for the end, or an exception
    cdef object sending          # bytes at the head of what is unsent
    cdef list pieces             # what follows it
    cdef Py_ssize_t sent_bytes   # of `sending`
    cdef int bulk_bytes          # what the next bulk receive asks for; 0: not in bulk
    cdef unsigned char small_reads
    cdef bint read_eof           # the peer is done sending
    cdef bint socket_full        # the last send found no room: the next one waits for some
    cdef bint in_unsent          # listed in loop.unsent
    cdef bint delivery_scheduled

    cdef public bint _sendfile_busy      # nothing else may be written (loopx/sendfile.py)

    _start_tls_compatible = True
    _sendfile_compatible = SendfileMode.TRY_NATIVE

    @property
    def _protocol_paused(self):
        return self.protocol_paused

    # ---- receiving ------------------------------------------------------------------------

    cdef int connected(self) except -1:
        """Tell the protocol, then receive."""
        try:
            self.protocol.connection_made(self)
        finally:
            self.receive()
        return 0

    def _connected(self, waiter):
        try:
            self.connected()
        finally:
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    cdef int receive(self) except -1:
        """Ask for data, unless that is asked already or nobody wants any."""
        if (self.receive_operation.state != OPERATION_IDLE or self.paused or self.closing
                or self.read_eof or self.held is not None):
            return 0
        if self.bulk_bytes:
            self.receive_operation.kind = POLL
            self.receive_operation.events = POLLIN
        else:
            self.receive_operation.kind = RECEIVE_MULTISHOT
        return self.loop.engine.submit(&self.receive_operation)

    cdef int stop_receiving(self) except -1:
        if self.receive_operation.state != OPERATION_IDLE:
            self.loop.engine.cancel(&self.receive_operation)
        return 0

    cdef int received(self, int result, unsigned int flags, bint last) except -1:
        """A completion of the multishot receive."""
        cdef Engine engine = self.loop.engine
        if self.closing:
            engine.drop_received(flags)
        elif result > 0:
            data = engine.take_received(&self.receive_operation, result, flags)
            if PyBytes_GET_SIZE(data) >= BULK_BYTES and not self.bulk_bytes:
                self.bulk_bytes = BULK_RECEIVE_BYTES_MIN
                if not last:
                    self.stop_receiving()
            self.deliver(data)
        elif result == 0:
            self.deliver(None)
        elif result == -ENOBUFS:
            engine.more_receive_buffers()
        elif result != -ECANCELED and result != -EAGAIN and result != -EINTR:
            self.deliver(OSError(-result, os.strerror(-result)))
        return 0

    cdef int readable(self, int result) except -1:
        """The poll's completion in bulk mode: receive straight into what is handed out."""
        if self.closing or self.paused or result == -ECANCELED:
            return 0
        if self.buffered_protocol:
            return self.receive_into_protocol()
        data = receive_bytes(self.fd, self.bulk_bytes)
        self.loop.engine.system_calls += 1
        if data is None:
            return 0
        if type(data) is int:
            return self.deliver(OSError(<int>data, os.strerror(data)))
        if PyBytes_GET_SIZE(data) == 0:
            return self.deliver(None)
        self.adapt_bulk(PyBytes_GET_SIZE(data))
        return self.deliver(data)

    cdef void adapt_bulk(self, Py_ssize_t length) noexcept:
        """Ask for more when the buffer was filled; leave bulk after several small reads."""
        if length == self.bulk_bytes and self.bulk_bytes < BULK_RECEIVE_BYTES_MAX:
            self.bulk_bytes *= 2
        if length > BULK_SMALL_BYTES:
            self.small_reads = 0
            return
        self.small_reads += 1
        if self.small_reads == BULK_SMALL_READS:
            self.small_reads = 0
            self.bulk_bytes = 0

    cdef int receive_into_protocol(self) except -1:
        """Bulk into a BufferedProtocol's own buffer."""
        cdef Py_buffer view
        cdef ssize_t length
        cdef int error
        if self.get_buffer(-1, &view) < 0:
            return 0
        with nogil:
            length = posix_recv(self.fd, view.buf, view.len, MSG_DONTWAIT)
            error = errno
        PyBuffer_Release(&view)
        self.loop.engine.system_calls += 1
        if length > 0:
            self.adapt_bulk(length)
            return self.buffer_updated(length)
        if length == 0:
            return self.deliver(None)
        if error == EAGAIN or error == EINTR:
            return 0
        return self.deliver(OSError(error, os.strerror(error)))

    cdef int deliver(self, item) except -1:
        """Hand to the protocol bytes, the end of the stream (None), or an exception."""
        if self.paused or self.held is not None:
            if self.held is None:
                self.held = []
            self.held.append(item)
            return self.stop_receiving()
        PyContext_Enter(self.context)
        try:
            self.deliver_in_context(item)
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int deliver_in_context(self, item) except -1:
        cdef PyObject *result
        cdef object protocol = self.protocol
        if item is None:
            return self.deliver_eof(protocol)
        if not PyBytes_CheckExact(item):
            return self.fatal_error(item, "Fatal read error on socket transport")
        if self.buffered_protocol:
            return self.feed_buffered(item)
        try:
            result = call_method_1(protocol, DATA_RECEIVED, item)
            if result == NULL:
                raise_current()
            Py_DECREF(<object>result)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.fatal_error(error, "Fatal error: protocol.data_received() call failed.")
        return 0

    cdef int deliver_eof(self, protocol) except -1:
        self.read_eof = True
        try:
            keep_open = protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            return self.fatal_error(error, "Fatal error: protocol.eof_received() call failed.")
        if not keep_open:
            self.close()
        return 0

    cdef int feed_buffered(self, bytes data) except -1:
        """Copy received bytes into a BufferedProtocol's buffers, as many as it takes."""
        cdef Py_buffer view
        cdef Py_ssize_t offset = 0, length
        while offset < PyBytes_GET_SIZE(data) and not self.closing:
            if not self.buffered_protocol:          # set_protocol in a callback
                return self.deliver_in_context(data[offset:])
            if self.get_buffer(PyBytes_GET_SIZE(data) - offset, &view) < 0:
                return 0
            length = min(view.len, PyBytes_GET_SIZE(data) - offset)
            memcpy(view.buf, PyBytes_AS_STRING(data) + offset, length)
            PyBuffer_Release(&view)
            offset += length
            self.buffer_updated(length)
            if self.paused and offset < PyBytes_GET_SIZE(data):
                return self.deliver(data[offset:])
        return 0

    cdef int get_buffer(self, Py_ssize_t hint, Py_buffer *view) except -2:
        """The protocol's buffer, or -1 when it failed and the transport is closed for it."""
        try:
            buffer = self.protocol.get_buffer(hint)
            PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE)
            if view.len == 0:
                PyBuffer_Release(view)
                raise RuntimeError("get_buffer() returned an empty buffer")
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.fatal_error(error, "Fatal error: protocol.get_buffer() call failed.")
            return -1
        return 0

    cdef int buffer_updated(self, Py_ssize_t length) except -1:
        try:
            self.protocol.buffer_updated(length)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.fatal_error(error, "Fatal error: protocol.buffer_updated() call failed.")
        return 0

    def is_reading(self):
        """False after pause_reading, and from close() on."""
        return not self.closing and not self.paused

    def pause_reading(self):
        """Hand out no data until resume_reading(). Idempotent."""
        self.check_caller()
        if not self.closing and not self.paused:
            self.paused = True

    def resume_reading(self):
        """Undo pause_reading(). Idempotent."""
        self.check_caller()
        if self.closing or not self.paused:
            return
        self.paused = False
        if self.held is None:
            self.receive()
        elif not self.delivery_scheduled:
            self.delivery_scheduled = True
            self.loop.schedule(self._deliver_held, (), self.context)

    def _deliver_held(self):
        """What came while reading was paused; a callback may pause again in the middle."""
        self.delivery_scheduled = False
        while self.held and not self.paused and not self.closing:
            held, self.held = self.held, None
            self.deliver_in_context(held.pop(0))
            if held:
                self.held = (self.held or []) + held     # what it left undone comes first
        if not self.held or self.closing:
            self.held = None
        self.receive()

    # ---- sending --------------------------------------------------------------------------

    def write(self, data):
        """Send bytes-like `data`; returns at once. A mutable buffer is copied."""
        cdef Py_ssize_t length
        self.check_caller()
        if not PyBytes_CheckExact(data):
            data = copied(data)
        if self.eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._sendfile_busy:
            raise RuntimeError("unable to write; sendfile is in progress")
        length = PyBytes_GET_SIZE(data)
        if length == 0:
            return
        if self.lost:
            self.count_lost_write()
            return
        self.append(data, length)
        self.flush_or_wait()

    def writelines(self, list_of_data):
        """Send several bytes-like objects, in order."""
        cdef list pieces
        self.check_caller()
        pieces = [data if PyBytes_CheckExact(data) else copied(data) for data in list_of_data]
        if self.eof_written:
            raise RuntimeError("Cannot call writelines() after write_eof()")
        if self._sendfile_busy:
            raise RuntimeError("unable to writelines; sendfile is in progress")
        if not pieces:
            return
        if self.lost:
            self.count_lost_write()
            return
        for data in pieces:
            if PyBytes_GET_SIZE(data):
                self.append(data, PyBytes_GET_SIZE(data))
        self.flush_or_wait()

    cdef int count_lost_write(self) except -1:
        if self.lost >= WARN_AFTER_LOST_WRITES:
            logger.warning("socket.send() raised exception.")
        self.lost += 1
        return 0

    cdef inline int append(self, data, Py_ssize_t length) except -1:
        self.unsent_bytes += length
        if self.sending is None:
            self.sending = data
            self.sent_bytes = 0
        elif self.pieces is None:
            self.pieces = [data]
        else:
            self.pieces.append(data)
        return 0

    cdef int flush_or_wait(self) except -1:
        """Leave it to the turn's submission; but what is over the mark is tried at once."""
        if self.unsent_bytes > self.high_water_bytes:
            if self.send_operation.state == OPERATION_IDLE:
                self.send_inline()
            self.pause_protocol_if_full()
        if self.sending is not None:
            self.send_with_turn()
        return 0

    cdef inline int send_with_turn(self) except -1:
        if not self.in_unsent and self.send_operation.state == OPERATION_IDLE:
            self.in_unsent = True
            self.loop.unsent.append(self)
            if self.loop.running_thread and self.loop.running_thread != current_thread():
                self.loop.wake_up()          # a caller's mistake, but no reason to lose bytes
        return 0

    cdef int submit_unsent(self) except -1:
        self.in_unsent = False
        if self.sending is None or self.lost or self.send_operation.state != OPERATION_IDLE:
            return 0
        if self.pieces is not None and self.sent_bytes == 0:
            self.join_pieces()
        if not self.descriptor_is_ours():
            return self.fatal_error(OSError(EBADF, os.strerror(EBADF)),
                                    "Fatal write error on socket transport")
        self.send_operation.address = PyBytes_AS_STRING(self.sending) + self.sent_bytes
        self.send_operation.length = min(PyBytes_GET_SIZE(self.sending) - self.sent_bytes,
                                         SEND_BYTES_MAX)
        self.send_operation.kind = SEND if self.success_matters() else SEND_QUIETLY
        return self.loop.engine.submit(&self.send_operation)

    cdef inline bint success_matters(self) noexcept:
        """Whether something is to be done when this send is over, or its bytes weigh much."""
        return (self.socket_full or self.closing or self.eof_written or self.protocol_paused
                or self.pieces is not None or self.sent_bytes != 0
                or self.unsent_bytes > QUIET_BYTES_MAX)

    cdef int join_pieces(self) except -1:
        """Make one piece of the small ones at the head, so that they leave in one send."""
        cdef Py_ssize_t total = PyBytes_GET_SIZE(self.sending)
        cdef Py_ssize_t count = 0
        for piece in self.pieces:
            total += PyBytes_GET_SIZE(piece)
            if total > JOIN_BYTES:
                break
            count += 1
        if count:
            self.sending = b"".join([self.sending, *self.pieces[:count]])
            del self.pieces[:count]
        if not self.pieces:
            self.pieces = None
        return 0

    cdef int send_inline(self) except -1:
        """Send without the ring what the socket takes now. Nothing is in flight."""
        cdef ssize_t sent
        cdef int error
        cdef const char *start
        cdef Py_ssize_t length
        while self.sending is not None:
            if self.pieces is not None and self.sent_bytes == 0:
                self.join_pieces()
            if not self.descriptor_is_ours():
                return self.fatal_error(OSError(EBADF, os.strerror(EBADF)),
                                        "Fatal write error on socket transport")
            start = PyBytes_AS_STRING(self.sending) + self.sent_bytes
            length = PyBytes_GET_SIZE(self.sending) - self.sent_bytes
            with nogil:
                sent = posix_send(self.fd, start, length, MSG_DONTWAIT | MSG_NOSIGNAL)
                error = errno
            self.loop.engine.system_calls += 1
            if sent < 0:
                if error == EAGAIN or error == EINTR or error == ENOBUFS:
                    return 0
                return self.fatal_error(OSError(error, os.strerror(error)),
                                        "Fatal write error on socket transport")
            self.advance(sent)
            if sent < length:
                return 0
        return 0

    cdef void advance(self, Py_ssize_t sent) noexcept:
        """The kernel took the next `sent` bytes."""
        self.unsent_bytes -= sent
        self.sent_bytes += sent
        if self.sent_bytes < PyBytes_GET_SIZE(self.sending):
            return
        self.sent_bytes = 0
        self.sending = None
        if self.pieces is not None:
            self.sending = self.pieces.pop(0)
            if not self.pieces:
                self.pieces = None

    cdef int sent(self, int result) except -1:
        """The completion of a send."""
        if self.lost:
            self.sending = None
            self.pieces = None
            return 0
        self.socket_full = result == -EAGAIN
        if result < 0:
            if result != -EAGAIN and result != -EINTR and result != -ECANCELED:
                return self.fatal_error(OSError(-result, os.strerror(-result)),
                                        "Fatal write error on socket transport")
        else:
            self.advance(result)
            if self.protocol_paused:
                PyContext_Enter(self.context)
                try:
                    self.resume_protocol_if_drained()
                finally:
                    PyContext_Exit(self.context)
        if self.sending is not None:
            return self.send_with_turn()
        return self.everything_sent()

    cdef int everything_sent(self) except -1:
        if self.closing:
            if not self.lost:
                self.become_lost(None)
        elif self.eof_written:
            posix_shutdown(self.fd, SHUT_WR)
        return 0

    def can_write_eof(self):
        """True: a stream socket can be half closed."""
        return True

    def write_eof(self):
        """Close the sending half after what was written before."""
        self.check_caller()
        if self.closing or self.eof_written:
            return
        self.eof_written = True
        if self.sending is None and posix_shutdown(self.fd, SHUT_WR) < 0:
            raise_os_error("shutdown")

    # ---- ending ---------------------------------------------------------------------------

    def close(self):
        """Stop receiving, send what is unsent, then close. Idempotent."""
        self.check_caller()
        if self.closing:
            return
        self.closing = True
        self.stop_receiving()
        if self.sending is None:
            self.become_lost(None)

    def abort(self):
        """Close at once. What the socket takes without waiting is still sent."""
        self.check_caller()
        if not self.lost and self.sending is not None and self.in_unsent:
            self.send_inline()
        self.force_close(None)

    cdef int force_close(self, error) except -1:
        if self.lost:
            return 0
        self.unsent_bytes = 0
        self.pieces = None
        if self.send_operation.state == OPERATION_IDLE:
            self.sending = None
        else:
            self.loop.engine.cancel(&self.send_operation)
        if not self.closing:
            self.closing = True
            self.stop_receiving()
        return self.become_lost(error)


cdef int on_received(Operation *operation, int result, unsigned int flags) except -1:
    cdef StreamTransport transport = <StreamTransport>operation.owner
    cdef bint last = operation.state == OPERATION_IDLE
    try:
        if operation.kind == POLL:
            transport.readable(result)
        else:
            transport.received(result, flags, last)
    finally:
        if last:
            if transport.closing:
                transport.close_descriptor_when_idle()
            else:
                transport.receive()
    return 0


cdef int on_sent(Operation *operation, int result, unsigned int flags) except -1:
    cdef StreamTransport transport = <StreamTransport>operation.owner
    try:
        transport.sent(result)
    finally:
        transport.close_descriptor_when_idle()
    return 0


cdef bytes copied(data):
    """The bytes of a bytes-like object, contiguous or not; later changes do not show."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError("data argument must be a bytes, bytearray, or memoryview object, "
                        f"not {type(data).__name__!r}")
    return bytes(data)


cdef object receive_bytes(int fd, Py_ssize_t length_max):
    """recv(2): bytes (b'' at the end), None when nothing is there, or an errno."""
    cdef PyObject *data
    cdef ssize_t length
    cdef int error
    cdef char *target
    fresh = PyBytes_FromStringAndSize(NULL, length_max)
    target = PyBytes_AS_STRING(fresh)
    with nogil:
        length = posix_recv(fd, target, length_max, MSG_DONTWAIT)
        error = errno
    if length < 0:
        return None if error == EAGAIN or error == EINTR else error
    if length == length_max:
        return fresh
    if length < length_max // 2:
        return PyBytes_FromStringAndSize(target, length)    # do not keep the rest allocated
    Py_INCREF(fresh)
    data = <PyObject *>fresh
    fresh = None
    resize_bytes(&data, length)
    fresh = <object>data
    Py_DECREF(fresh)
    return fresh


cdef StreamTransport make_stream_transport(BaseLoop loop, int fd, sock, protocol, context, server):
    """A transport that owns `fd` (through `sock`, when there is one); not yet receiving."""
    cdef StreamTransport transport = StreamTransport.__new__(StreamTransport)
    operation_init(&transport.receive_operation, transport, on_received, fd)
    operation_init(&transport.send_operation, transport, on_sent, fd)
    transport.send_operation.kind = SEND
    transport.attach(loop, fd, sock, protocol, context, server)
    return transport


cdef int set_nodelay(int fd) except -1:
    """As asyncio and uvloop: no Nagle delay on TCP. A failure is not worth the connection."""
    cdef int on = 1
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
    return 0
