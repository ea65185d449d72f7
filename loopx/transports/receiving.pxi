# The receiving half of a stream's transport. Only the loop's thread may touch it.
#
# Small traffic: a multishot receive into provided buffers, so that an idle connection pins none.
# Bulk (transports/bulk.pxi says when): the transport waits for readiness instead, then receives up
# to 256 KiB straight into the object that it hands out (io/bulk_space.pxi).
# Pausing cancels lazily, when data comes: it is held until resume_reading, bulk left in the socket.

cdef class ReceivingTransport(BulkTransport):
    """A connected stream socket that hands what it receives to its protocol."""

    cdef list held               # received while paused: bytes, None for the end, or an exception
    cdef bint read_eof           # the peer is done sending
    cdef bint delivery_scheduled

    cdef int receive(self) except -1:
        """Ask for data, unless that is asked already or nobody wants any."""
        if (self.receive_operation.state != OPERATION_IDLE or self.paused or self.closing
                or self.read_eof or self.held is not None or self.delivery_scheduled):
            return 0
        if not self.descriptor_is_ours():
            return self.descriptor_is_gone()
        if self.bulk_bytes:
            self.choose_poll()
        else:
            self.receive_operation.kind = RECEIVE_MULTISHOT
        return self.loop.engine.submit(&self.receive_operation)

    cdef int descriptor_is_gone(self) except -1:
        return self.fatal_error(OSError(EBADF, os.strerror(EBADF)),
                                "Fatal read error on socket transport")

    @cython.nonecheck(False)
    cdef int received(self, int result, unsigned int flags) except -1:
        """A completion of the multishot receive."""
        cdef Engine engine = self.loop.engine
        if self.closing:
            engine.drop_received(flags)
        elif result > 0 and self.buffered_protocol and not self.must_hold():
            self.received_for_buffer(result, flags)
        elif result > 0:
            data = engine.take_received(&self.receive_operation, result, flags)
            self.look_for_bulk(PyBytes_GET_SIZE(data))
            self.deliver(data)
            engine.take_back_bytes(data)
        elif result == 0:
            self.deliver(None)
        elif result == -ENOBUFS:
            engine.more_receive_buffers()
        elif result == -ENOMEM:                # no locked memory for provided buffers
            self.begin_bulk()
        elif result != -ECANCELED and result != -EAGAIN and result != -EINTR:
            self.deliver(OSError(-result, os.strerror(-result)))
        return 0

    @cython.nonecheck(False)
    cdef int readable(self, int result) except -1:
        """The poll's completion in bulk mode: receive straight into what is handed out."""
        cdef Engine engine = self.loop.engine
        cdef unsigned long long writes = engine.writes
        engine.streaming.polls += self.is_tcp
        if result == POLLIN and engine.dispatched <= self.received_at:
            return 0                           # told before the last receive, which took it
        self.may_have_left = True
        if (self.closing or self.paused or result == -ECANCELED or not self.bulk_bytes
                or self.read_eof or self.receive_operation.state == OPERATION_CANCELLING):
            return 0
        if not self.descriptor_is_ours():
            return self.descriptor_is_gone()
        if result != POLLIN:
            self.poll_for_each()
        while self.receive_once() and engine.writes == writes and self.may_go_on():
            pass
        return 0

    @cython.nonecheck(False)
    cdef inline bint may_go_on(self) except -1:
        """After a receive that filled its buffer: whether to receive again at once.

        Until all is taken: then the peer sends what is in the caches yet; what has long waited in
        the socket is not. But who answers as it comes takes turns: nothing was written.
        """
        return (not self.loop.unsent and self.bulk_bytes and not self.must_hold()
                and not self.read_eof and not self.closing and not self.loop.stopping
                and self.descriptor_is_ours() and not self.loop.has_due_timer()
                and self.loop.engine.bulk_may_go_on())

    @cython.nonecheck(False)
    cdef bint receive_once(self) except -1:
        """Receive and hand out; True if more may be there, as much came as was asked for."""
        self.received_at = self.loop.engine.collected_ever
        if self.buffered_protocol:
            self.received_for_buffer(0, 0)
            return self.may_have_left
        cdef int length_max = self.receive_bytes_max()
        data = receive_bulk(&self.loop.bulk_space, self.fd, length_max)
        self.loop.engine.system_calls += 1
        if type(data) is bytes and PyBytes_GET_SIZE(data):
            self.received_bulk(PyBytes_GET_SIZE(data), length_max)
            self.deliver(data)
            return self.may_have_left
        self.may_have_left = data is not None
        if self.may_have_left:
            self.deliver(OSError(data, os.strerror(data)) if type(data) is int else None)
        return False

    @cython.nonecheck(False)
    cdef inline bint must_hold(self) noexcept:
        """Whether what comes now has to wait: for resume_reading, or for what is held already."""
        return self.paused or self.held is not None or self.delivery_scheduled

    @cython.nonecheck(False)
    cdef int deliver(self, item) except -1:
        """Hand to the protocol bytes, the end of the stream (None), or an exception."""
        cdef double started
        if self.must_hold():
            return self.hold(item)
        started = monotonic_seconds() if self.loop.debug else 0
        PyContext_Enter(self.context)
        try:
            self.deliver_in_context(item)
        finally:
            PyContext_Exit(self.context)
        if started:
            self.report_if_slow(EOF_RECEIVED if item is None else DATA_RECEIVED, started)
        return 0

    cdef int hold(self, item) except -1:
        if self.held is None:
            self.held = []
        self.held.append(item)
        if item is None:
            self.read_eof = True
        return self.stop_receiving()

    @cython.nonecheck(False)
    cdef int deliver_in_context(self, item) except -1:
        cdef PyObject *result
        cdef object protocol = self.protocol
        if item is None:
            return self.deliver_eof(protocol)
        if not PyBytes_CheckExact(item):
            return self.fatal_error(item, "Fatal read error on socket transport")
        if self.buffered_protocol:
            return self.feed_buffered(item, 0)
        if self.takes_bytes or self.feeds_reader:
            return self.deliver_natively(item)
        result = call_method_1(protocol, DATA_RECEIVED, item)
        if result == NULL:
            return self.callback_failed(DATA_RECEIVED)
        Py_DECREF(<object>result)
        return 0

    cdef int deliver_natively(self, bytes data) except -1:
        """To a protocol whose data_received is known, and written in C."""
        protocol = self.protocol
        try:
            if isinstance(protocol, TLSState):
                receive_ciphertext(protocol, data)
            elif not feed_stream_reader(protocol, data):
                protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.fatal_error(error, "Fatal error: protocol.data_received() call failed.")
        return 0

    cdef int callback_failed(self, str method) except -1:
        """Apart, because entering a try costs as much as the rest of a small delivery."""
        try:
            raise_current()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.fatal_error(error, f"Fatal error: protocol.{method}() call failed.")
        return 0

    cdef int deliver_eof(self, protocol) except -1:
        self.read_eof = True
        try:
            keep_open = protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            self.hold_first(None)              # it is told again, as by a socket that is watched
            raise
        except BaseException as error:
            return self.fatal_error(error, "Fatal error: protocol.eof_received() call failed.")
        if not keep_open:
            self.close()
        return 0

    # ---- a BufferedProtocol ---------------------------------------------------------------

    @cython.nonecheck(False)
    cdef int received_for_buffer(self, int result, unsigned int flags) except -1:
        """A completion of the multishot receive, or 0: the socket is readable, in bulk mode."""
        cdef double started = monotonic_seconds() if self.loop.debug else 0
        PyContext_Enter(self.context)
        try:
            if result:
                self.copy_received(result, flags)
            else:
                self.receive_into_protocol()
        finally:
            PyContext_Exit(self.context)
        if started:
            self.report_if_slow(BUFFER_UPDATED, started)
        return 0

    @cython.nonecheck(False)
    cdef int receive_into_protocol(self) except -1:
        """From the socket into the protocol's buffer."""
        cdef Py_buffer view
        cdef PyThreadState *released
        cdef ssize_t length
        cdef Py_ssize_t room
        cdef int error
        if not self.get_buffer(-1, &view):
            return 0
        if not self.descriptor_is_ours():     # get_buffer() closed it
            PyBuffer_Release(&view)
            return self.descriptor_is_gone()
        room = view.len
        released = release_gil_for_others(room)
        length = posix_recv(self.fd, view.buf, room, MSG_DONTWAIT)
        error = errno
        take_gil_back(released)
        PyBuffer_Release(&view)
        self.loop.engine.system_calls += 1
        if length > 0:
            self.received_bulk(length, room)
            return self.buffer_updated(length)
        if length < 0 and (error == EAGAIN or error == EINTR):
            self.may_have_left = False
            return 0
        item = None if length == 0 else OSError(error, os.strerror(error))
        return self.hold(item) if self.must_hold() else self.deliver_in_context(item)

    @cython.nonecheck(False)
    cdef int copy_received(self, int result, unsigned int flags) except -1:
        """From the kernel's buffers into the protocol's. get_buffer() may do anything: what came
        is looked at once more after it."""
        cdef Engine engine = self.loop.engine
        cdef Py_ssize_t length = engine.received_bytes(&self.receive_operation, result, flags)
        cdef object protocol = self.protocol, hint = length
        cdef Py_buffer view
        cdef Py_ssize_t copied
        self.look_for_bulk(length)
        if ask_for_buffer(protocol, hint, &view) < 0:
            return self.keep_received(result, flags)
        copied = engine.copy_received(&self.receive_operation, <char *>view.buf, view.len, result,
                                      flags)
        if copied == 0:
            return self.copy_in_pieces(&view, result, flags)
        PyBuffer_Release(&view)
        return self.buffer_updated(hint if copied == length else copied)

    cdef int copy_in_pieces(self, Py_buffer *view, int result, unsigned int flags) except -1:
        """The protocol's buffer is smaller than what came."""
        cdef Py_ssize_t copied = view.len
        try:
            data = self.loop.engine.take_received(&self.receive_operation, result, flags)
            memcpy(view.buf, PyBytes_AS_STRING(data), copied)
        finally:
            PyBuffer_Release(view)
        return self.feed_buffered(data, copied)

    cdef int keep_received(self, int result, unsigned int flags) except -1:
        """get_buffer() failed. After KeyboardInterrupt what came is for later."""
        cdef Engine engine = self.loop.engine
        try:
            self.callback_failed(GET_BUFFER)
        except BaseException:
            self.hold_first(engine.take_received(&self.receive_operation, result, flags))
            raise
        return engine.drop_received(flags)

    cdef int feed_buffered(self, bytes data, Py_ssize_t copied) except -1:
        """Copy received bytes into a BufferedProtocol's buffers, as many as it takes; the first
        `copied` of them are there already, and it is yet to be told."""
        cdef Py_buffer view
        cdef Py_ssize_t offset = 0
        try:
            while True:
                offset += copied
                if copied:
                    self.buffer_updated(copied)
                if offset == PyBytes_GET_SIZE(data) or self.closing:
                    return 0
                if self.paused or not self.buffered_protocol:      # set_protocol in a callback
                    break
                if not self.get_buffer(PyBytes_GET_SIZE(data) - offset, &view):
                    return 0
                copied = min(view.len, PyBytes_GET_SIZE(data) - offset)
                memcpy(view.buf, PyBytes_AS_STRING(data) + offset, copied)
                PyBuffer_Release(&view)
        except BaseException:                  # KeyboardInterrupt: the rest is for later
            if offset < PyBytes_GET_SIZE(data):
                self.hold_first(data[offset:])
            raise
        if self.paused:
            return self.hold(data[offset:])
        return self.deliver_in_context(data[offset:])

    cdef int hold_first(self, data) except -1:
        self.held = [data] + (self.held or [])
        return self.deliver_later()

    cdef bint get_buffer(self, hint, Py_buffer *view) except -1:
        """The protocol's buffer; False when it failed and the transport is closed for it."""
        cdef object protocol = self.protocol
        if ask_for_buffer(protocol, hint, view) < 0:
            self.callback_failed(GET_BUFFER)
            return False
        return True

    @cython.nonecheck(False)
    cdef int buffer_updated(self, length) except -1:
        cdef object protocol = self.protocol
        cdef PyObject *result = call_method_1(protocol, BUFFER_UPDATED, length)
        if result == NULL:
            return self.callback_failed(BUFFER_UPDATED)
        Py_DECREF(<object>result)
        return 0

    def resume_reading(self):
        """Undo pause_reading(). Idempotent."""
        if self.check_caller():
            return self.hand_over(self.resume_reading, ())
        if self.closing or not self.paused:
            return
        self.paused = False
        if self.held is None:
            self.receive()
        else:
            self.deliver_later()

    def _deliver_held(self):
        """What came while reading was paused; a callback may pause again in the middle."""
        cdef list rest
        try:
            while self.held and not self.paused and not self.closing:
                rest, self.held = self.held, None
                try:
                    self.deliver_in_context(rest.pop(0))
                finally:
                    if rest:
                        self.held = (self.held or []) + rest    # what it left undone is first
            if not self.held or self.closing:
                self.held = None
        finally:
            self.delivery_scheduled = False
            if self.held is None:
                self.receive()
            elif not self.paused:             # a callback raised KeyboardInterrupt
                self.deliver_later()

    cdef int deliver_later(self) except -1:
        """Schedule _deliver_held, unless it is scheduled or going on (which then sees to it)."""
        if not self.delivery_scheduled:
            self.loop.schedule(self._deliver_held, (), self.context)
            self.delivery_scheduled = True
        return 0


cdef int ask_for_buffer(protocol, hint, Py_buffer *view) noexcept:
    """A BufferedProtocol's buffer, or -1 with the exception set that says why there is none."""
    cdef PyObject *buffer = call_method_1(protocol, GET_BUFFER, hint)
    cdef int result
    if buffer == NULL:
        return -1
    result = get_writable_buffer(buffer, view)
    Py_DECREF(<object>buffer)
    if result == 0 and view.len == 0:
        PyBuffer_Release(view)
        PyErr_SetString(RuntimeError, "get_buffer() returned an empty buffer")
        return -1
    return result


@cython.nonecheck(False)
cdef int on_received(Operation *operation, int result, unsigned int flags) except -1:
    cdef ReceivingTransport transport = <ReceivingTransport>operation.owner
    cdef bint last = operation.state == OPERATION_IDLE
    try:
        if operation.kind == RECEIVE_MULTISHOT:
            transport.received(result, flags)
        else:
            transport.readable(result)
    finally:
        if last:
            if transport.closing:
                transport.close_descriptor_when_idle()
            else:
                transport.receive()
        elif operation.kind == POLL_MULTISHOT and transport.may_have_left:
            transport.poll_for_each()          # nothing else would tell of it
    return 0


cdef bint receives_from_own_descriptor(Operation *operation) except -1:
    return (<ReceivingTransport>operation.owner).descriptor_is_ours()
