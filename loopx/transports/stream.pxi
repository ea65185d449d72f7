# The transport of TCP and Unix streams: sending by completions, and how it ends.
# Only the loop's thread may touch it. The acceptor and connect.py make it.
#
# What is written in a turn waits in `pieces` and leaves with the turn's submission; one
# send is in flight at a time, and what is written meanwhile goes out together when it completes.
# With next to no connections there is nothing to batch: a write is sent at once. So it is on a Unix
# socket in a turn that serves few.
# Bulk is sent at once too, while it is in the caches. So is what is past the high-water mark, so
# that a protocol is paused only when the socket's own buffer is full, as with asyncio.
# `sending` is the bytes in flight, or the rest of what an inline send left; the kernel reads it
# until the send's completion.

cdef enum:
    BATCHED_BYTES_MAX = 49152    # more leaves at once, while it is in the processor's cache
    BATCH_BYTES_MAX = 262144     # of all connections: what is written is kept in memory until then


cdef class StreamTransport(ReceivingTransport, AsyncioTransport):
    """A connected stream socket (asyncio.Transport)."""

    cdef bint in_unsent          # listed in loop.unsent
    cdef bint drain_scheduled
    cdef bint is_local                       # a Unix socket
    cdef unsigned long long write_turn       # the last turn with a write
    cdef unsigned int writes                 # in that turn
    cdef unsigned int writes_expected        # as many as in the turn with writes before it
    cdef object gathered                     # what an operation on several pieces needs

    cdef public bint _sendfile_busy      # nothing else may be written (loopx/sendfile.py)

    _start_tls_compatible = True
    _sendfile_compatible = SendfileMode.TRY_NATIVE

    @property
    def _protocol_paused(self):
        return self.protocol_paused

    # ---- sending --------------------------------------------------------------------------

    def write(self, data):
        """Send bytes-like `data`; returns at once. A mutable buffer is copied."""
        cdef Py_ssize_t length
        if self.check_caller():
            return self.hand_over(self.write, (copied(data),))
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
            self.count_lost_write("socket.send() raised exception.")
            return
        self.append(data, length)
        self.flush_or_wait()

    def writelines(self, list_of_data):
        """Send several bytes-like objects, in order."""
        cdef list pieces
        if self.check_caller():
            return self.hand_over(self.writelines, ([copied(data) for data in list_of_data],))
        pieces = [data if PyBytes_CheckExact(data) else copied(data) for data in list_of_data]
        if self.eof_written:
            raise RuntimeError("Cannot call writelines() after write_eof()")
        if self._sendfile_busy:
            raise RuntimeError("unable to writelines; sendfile is in progress")
        if not pieces:
            return
        if self.lost:
            self.count_lost_write("socket.send() raised exception.")
            return
        for data in pieces:
            if PyBytes_GET_SIZE(data):
                self.append(data, PyBytes_GET_SIZE(data))
        self.flush_or_wait()

    @cython.nonecheck(False)
    cdef int flush_or_wait(self) except -1:
        """Leave it to the turn's submission; but bulk, or what is over the mark, is tried now."""
        if self.may_send_now():
            self.send_inline()
        elif (self.unsent_bytes > self.batched_bytes_max() and not self.full
                and self.send_operation.state == OPERATION_IDLE):
            self.send_inline()
        try:
            self.pause_protocol_if_full()
        finally:                              # pause_writing may raise KeyboardInterrupt
            self.send_rest()
        if self.loop.batch_bytes > BATCH_BYTES_MAX and self.loop.running_thread == current_thread():
            return self.loop.send_batch()
        return 0

    @cython.nonecheck(False)
    cdef inline Py_ssize_t batched_bytes_max(self) noexcept:
        """More is tried at once. Who receives bulk often answers with it, as it is in the caches;
        what a service makes of a small request gains more from leaving with others."""
        return min(self.high_water_bytes, BULK_BYTES - 1 if self.bulk_bytes else BATCHED_BYTES_MAX)

    @cython.nonecheck(False)
    cdef int send_rest(self) except -1:
        """Send with the turn what write() did not; else nothing but this call tells of room."""
        if self.sending is not None:
            self.send_with_turn()
        elif self.protocol_paused and not self.drain_scheduled:
            self.drain_scheduled = True        # no completion will tell it
            self.loop.schedule(self._drained, (), self.context)
        if self.sending is None and not self.lost and (self.closing or self.eof_written):
            self.send_on()                     # another thread's close() met an inline send
        return 0

    @cython.nonecheck(False)
    cdef bint may_send_now(self) noexcept:
        """Whether to send in write() itself.

        With no other connection to batch it with: the peer then starts to work while the
        protocol's callback goes on, 15 us of aiohttp's 75 for a request. A protocol that writes
        its answer in pieces is expected to do so again: they leave together with the last. And
        while the loop does not run, which it may never again.
        On a Unix socket, where a send of its own costs no more, also with others in a turn that
        serves few, and soon: whoever is written to later has gone to sleep again, and would be
        woken alone.
        """
        cdef Engine engine = self.loop.engine
        if self.full or self.closing or self.send_operation.state != OPERATION_IDLE:
            return False
        if not self.loop.running_thread:
            return True
        if engine.in_flight > LONELY_IN_FLIGHT and not (
                self.is_local and monotonic_ns() < engine.few_until_ns):
            return False
        if self.write_turn != self.loop.turns:
            self.write_turn = self.loop.turns
            self.writes_expected = max(self.writes, 1)
            self.writes = 0
        self.writes += 1
        return (self.writes == self.writes_expected and not self.protocol_paused
                and self.loop.running_thread == current_thread())

    def _drained(self):
        self.drain_scheduled = False
        if not self.lost:
            self.resume_protocol_if_drained()

    @cython.nonecheck(False)
    cdef inline int send_with_turn(self) except -1:
        if not self.in_unsent and self.send_operation.state == OPERATION_IDLE:
            self.in_unsent = True
            self.loop.unsent.append(self)
            if not self.full:                # else it waits for room
                self.loop.batch_bytes += self.unsent_bytes
            if self.loop.running_thread and self.loop.running_thread != current_thread():
                self.loop.wake_up()          # a caller's mistake, but no reason to lose bytes
        return 0

    @cython.nonecheck(False)
    cdef int submit_unsent(self) except -1:
        self.in_unsent = False
        if self.sending is None or self.lost or self.send_operation.state != OPERATION_IDLE:
            return 0
        if not self.descriptor_is_ours():
            return self.write_failed(EBADF)
        if self.full:
            self.send_operation.kind = POLL
            self.send_operation.events = POLLOUT
            return self.loop.engine.submit(&self.send_operation)
        if self.pieces is not None:
            if self.gather_for_turn():
                return self.loop.engine.submit(&self.send_operation)
            self.join_pieces()
        self.send_operation.address = PyBytes_AS_STRING(self.sending) + self.sent_bytes
        self.send_operation.length = min(PyBytes_GET_SIZE(self.sending) - self.sent_bytes,
                                         SEND_BYTES_MAX)
        self.send_operation.kind = SEND if self.success_matters() else SEND_QUIETLY
        return self.loop.engine.submit(&self.send_operation)

    cdef bint gather_for_turn(self) except -1:
        """Have the operation send several pieces, if they are not so small that they are joined."""
        cdef bytes space
        cdef Gather *gather
        if self.unsent_bytes < GATHERED_BYTES_MIN:      # a header and a small answer: most writes
            return False
        space = PyBytes_FromStringAndSize(NULL, sizeof(Gather))
        gather = <Gather *>PyBytes_AS_STRING(space)
        gather_begin(gather, self.sending, self.sent_bytes, SEND_BYTES_MAX)
        if not gather_more(gather, self.pieces):
            return False
        self.gathered = (space, self.sending, self.pieces[:gather.message.msg_iovlen - 1])
        self.send_operation.address = &gather.message
        self.send_operation.length = gather.length
        self.send_operation.kind = SEND_GATHERED
        return True

    cdef int send_alone(self) except -1:
        """Nobody else has something to send in this turn."""
        if (self.sending is not None and not self.lost and not self.state_matters()
                and self.send_operation.state == OPERATION_IDLE):
            self.in_unsent = False
            self.send_inline()
            if self.lost:
                return 0
            if self.sending is None:
                return self.send_on()
        return self.submit_unsent()

    @cython.nonecheck(False)
    cdef inline bint state_matters(self) noexcept:
        """Whether something is to be done when what is unsent has left, or it has to wait."""
        return self.full or self.closing or self.eof_written or self.protocol_paused

    @cython.nonecheck(False)
    cdef inline bint success_matters(self) noexcept:
        """Whether something is to be done when this send is over, or its bytes weigh much."""
        return (self.state_matters() or self.pieces is not None or self.sent_bytes != 0
                or self.unsent_bytes > BATCHED_BYTES_MAX)

    @cython.nonecheck(False)
    cdef int sent(self, int result) except -1:
        """The completion of a send, or of waiting for room."""
        self.gathered = None
        if self.lost:
            self.sending = None
            self.pieces = None
            return 0
        if self.send_operation.kind == POLL:
            self.full = False          # or in error: the send will meet it
            self.send_inline()
            if self.lost:
                return 0
        elif result < 0:
            self.full = result == -EAGAIN
            if result != -EAGAIN and result != -EINTR and result != -ECANCELED:
                return self.write_failed(-result)
        else:
            self.full = result < <int>self.send_operation.length
            self.advance(result)
        try:
            if self.protocol_paused:
                PyContext_Enter(self.context)
                try:
                    self.resume_protocol_if_drained()
                finally:
                    PyContext_Exit(self.context)
        finally:                              # resume_writing may raise KeyboardInterrupt
            self.send_on()
        return 0

    @cython.nonecheck(False)
    cdef int send_on(self) except -1:
        """A send is over: the next one, or what waited for the last."""
        if self.sending is not None:
            return self.send_with_turn()
        if self.closing:
            if not self.lost:
                self.become_lost(None)
        elif self.eof_written and self.descriptor_is_ours():
            posix_shutdown(self.fd, SHUT_WR)
        return 0

    def can_write_eof(self):
        """True: a stream socket can be half closed."""
        return True

    def write_eof(self):
        """Close the sending half after what was written before."""
        if self.check_caller():
            return self.hand_over(self.write_eof, ())
        if self.closing or self.eof_written:
            return
        self.eof_written = True
        if self.sending is not None:
            return
        if not self.descriptor_is_ours():
            raise OSError(EBADF, os.strerror(EBADF))
        if posix_shutdown(self.fd, SHUT_WR) < 0:
            raise_os_error("shutdown")

    cdef bint never_blocks(self) noexcept:
        return True

    cdef Py_ssize_t call_bytes_max(self) noexcept:
        return SEND_BYTES_MAX

    cdef ssize_t write_some(self, Gather *gather) noexcept nogil:
        if gather.message.msg_iovlen > 1:
            return posix_sendmsg(self.fd, &gather.message, MSG_DONTWAIT | MSG_NOSIGNAL)
        return posix_send(self.fd, gather.parts[0].iov_base, gather.parts[0].iov_len,
                          MSG_DONTWAIT | MSG_NOSIGNAL)

    # ---- ending ---------------------------------------------------------------------------

    def close(self):
        """Stop receiving, send what is unsent, then close. Idempotent."""
        if self.check_caller():
            return self.hand_over(self.close, ())
        if self.closing:
            return
        self.closing = True
        self.stop_receiving()
        if self.sending is None:
            self.become_lost(None)

    def abort(self):
        """Close at once. What the socket takes without waiting is still sent."""
        if self.check_caller():
            return self.hand_over(self.abort, ())
        self.force_close(None)

    cdef int force_close(self, error) except -1:
        """As abort(), and what TLS, and a protocol's callback that raised, end with."""
        if (not self.lost and self.sending is not None and self.in_unsent
                and self.send_operation.state == OPERATION_IDLE):
            self.in_unsent = False             # a send that fails leads here again
            self.send_inline()
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


@cython.nonecheck(False)
cdef int on_sent(Operation *operation, int result, unsigned int flags) except -1:
    cdef StreamTransport transport = <StreamTransport>operation.owner
    try:
        transport.sent(result)
    finally:
        transport.close_descriptor_when_idle()
    return 0


cdef bytes copied(data):
    """The bytes of a bytes-like object, contiguous or not; later changes do not show."""
    cdef Py_buffer view
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError("data argument must be a bytes, bytearray, or memoryview object, "
                        f"not {type(data).__name__!r}")
    if get_readable_buffer(<PyObject *>data, &view) < 0:
        PyErr_Clear()
        return bytes(data)                    # not contiguous, or to say what is wrong with it
    try:
        return PyBytes_FromStringAndSize(<char *>view.buf, view.len)    # half of bytes()'s time
    finally:
        PyBuffer_Release(&view)


cdef StreamTransport make_stream_transport(BaseLoop loop, int fd, sock, protocol, context, server):
    """A transport that owns `fd` (through `sock`, when there is one); not yet receiving."""
    cdef StreamTransport transport = StreamTransport.__new__(StreamTransport)
    operation_init(&transport.receive_operation, transport, on_received, fd)
    operation_init(&transport.send_operation, transport, on_sent, fd)
    transport.send_operation.kind = SEND
    if sock is not None:
        transport.receive_operation.descriptor_is_ours = receives_from_own_descriptor
    transport.attach(loop, fd, sock, protocol, context, server)
    return transport


cdef int set_nodelay(int fd) except -1:
    """As asyncio and uvloop: no Nagle delay on TCP. A failure is not worth the connection."""
    cdef int on = 1
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
    return 0
