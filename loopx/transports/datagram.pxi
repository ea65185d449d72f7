# The transport of datagram endpoints: UDP, Unix datagrams, and whatever socket was given.
# Only the loop's thread may touch it. loopx/datagrams.py makes its socket.
#
# Receiving: a one-shot poll in the turn's submission, then recvfrom(2) until nothing is left, but
# at most DATAGRAMS_PER_TURN times. A multishot receive would need each provided buffer to hold the
# longest datagram (64 KiB, and more on Unix sockets); one space per loop does it here. Nothing is
# taken from the socket but to be handed out at once, so pausing and closing hold nothing back.
# Sending: at once, as asyncio does, for an error belongs to its datagram. What the socket has no
# room for waits in `queue`, and everything after it, until a poll says that there is room.

cdef enum:
    DATAGRAMS_PER_TURN = 16      # received, or sent from the queue, before others have their turn
    RECEIVE_BYTES = 262144       # asked for through the socket object; as asyncio
    # A queued datagram counts for this much more than its bytes since 3.13, as in asyncio.
    HEADER_BYTES = 8

# A Unix socket whose receiver is full can be polled as writable all the same, when it is not
# connected: then it is tried again after a while.
cdef double RETRY_SECONDS = 0.001

cdef bint SENDS_EMPTY_DATAGRAMS = sys.version_info >= (3, 13)
cdef Py_ssize_t header_bytes = HEADER_BYTES if SENDS_EMPTY_DATAGRAMS else 0

cdef str DATAGRAM_RECEIVED = "datagram_received"
cdef str ERROR_RECEIVED = "error_received"


cdef class DatagramTransport(SocketTransport, AsyncioTransport, asyncio.DatagramTransport):
    """An endpoint for datagrams (asyncio.DatagramTransport)."""

    cdef object address          # where all goes: create_datagram_endpoint(remote_addr=...)
    cdef object queue            # deque of (bytes, address): not taken by the socket yet
    cdef int family
    cdef bint has_peer           # the socket is connected
    cdef bint retrying           # a timer does what a poll cannot

    # ---- receiving ------------------------------------------------------------------------

    cdef int receive(self) except -1:
        if (self.receive_operation.state == OPERATION_IDLE and not self.paused
                and not self.closing and self.descriptor_is_ours()):
            self.loop.engine.submit(&self.receive_operation)
        return 0

    def resume_reading(self):
        """Undo pause_reading(). Idempotent."""
        if self.check_caller():
            return self.hand_over(self.resume_reading, ())
        self.paused = False
        self.receive()

    cdef int receive_waiting(self) except -1:
        """Hand out what is there, at most DATAGRAMS_PER_TURN of it."""
        cdef int count
        PyContext_Enter(self.context)
        try:
            for count in range(DATAGRAMS_PER_TURN):
                if (self.closing or self.paused or not self.descriptor_is_ours()
                        or not self.receive_one()):
                    break
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef bint receive_one(self) except -1:
        """Hand a datagram, or the socket's error, to the protocol; False when there is none."""
        cdef object datagram = None, error = None
        try:
            datagram = self.next_datagram()
            if datagram is None:
                return False
        except OSError as refusal:
            error = refusal
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as failure:
            self.fatal_error(failure, "Fatal read error on datagram transport")
            return False
        self.tell(datagram, error)
        return True

    cdef object next_datagram(self):
        """(data, address) as recvfrom gives them, None when nothing is there; or OSError."""
        cdef FullSocketAddress address
        cdef socklen_t address_length = sizeof(address)
        cdef ssize_t length
        cdef int error
        cdef char *space
        self.loop.engine.system_calls += 1
        if self.family != AF_INET and self.family != AF_INET6 and self.family != AF_UNIX:
            try:
                return self.sock.recvfrom(RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                return None
        space = self.loop.need_datagram_space()
        length = posix_recvfrom(self.fd, space, DATAGRAM_SPACE_BYTES, MSG_DONTWAIT, &address.any,
                                &address_length)
        error = errno
        if length >= 0:
            return (PyBytes_FromStringAndSize(space, length),
                    address_to_python(&address, address_length))
        if error == EAGAIN or error == EINTR:
            return None
        raise OSError(error, os.strerror(error))

    cdef int tell(self, tuple datagram, error) except -1:
        """Call datagram_received, or error_received. The endpoint survives their exceptions."""
        cdef double started = monotonic_seconds() if self.loop.debug else 0
        cdef str method = DATAGRAM_RECEIVED if error is None else ERROR_RECEIVED
        protocol = self.protocol
        try:
            if error is None:
                protocol.datagram_received(datagram[0], datagram[1])
            else:
                protocol.error_received(error)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as failure:
            self.loop.call_exception_handler({
                "message": f"Exception in protocol.{method}()",
                "exception": failure,
                "transport": self,
                "protocol": protocol,
            })
        if started:
            self.report_if_slow(method, started)
        return 0

    # ---- sending --------------------------------------------------------------------------

    def sendto(self, data, addr=None):
        """Send bytes-like `data` as one datagram, to `addr` unless the endpoint has a peer."""
        if self.check_caller():
            return self.hand_over(self.sendto, (copied(data), addr))
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError("data argument must be a bytes-like object, "
                            f"not {type(data).__name__!r}")
        if not PyBytes_CheckExact(data):
            data = bytes(data)
        if not (PyBytes_GET_SIZE(data) or SENDS_EMPTY_DATAGRAMS):
            return
        if self.address:
            if addr is not None and addr != self.address:
                raise ValueError(f"Invalid address: must be None or {self.address}")
            addr = self.address
        if self.lost_called or (self.lost and self.address):
            self.count_lost_write("socket.send() raised exception.")
            return
        if not self.queue:
            try:
                if self.send_now(data, addr):
                    return
            except OSError as error:
                self.protocol.error_received(error)
                return
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.fatal_error(error, "Fatal write error on datagram transport")
                return
            if self.lost:
                return
        self.queue.append((data, addr))
        self.unsent_bytes += PyBytes_GET_SIZE(data) + header_bytes
        self.wait_for_room()
        self.pause_protocol_if_full()

    cdef bint send_now(self, bytes data, address) except -1:
        """Whether the socket took the datagram; OSError and others as socket.sendto()."""
        cdef FullSocketAddress target
        cdef socklen_t target_length = 0
        cdef ssize_t sent
        cdef int error
        self.loop.engine.system_calls += 1
        if not self.descriptor_is_ours():
            raise OSError(EBADF, os.strerror(EBADF))
        if not self.has_peer:
            target_length = address_from_python(self.family, address, &target)
            if target_length == 0:
                return self.send_by_object(data, address)
        sent = posix_sendto(self.fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data),
                            MSG_DONTWAIT | MSG_NOSIGNAL,
                            &target.any if target_length else NULL, target_length)
        error = errno
        if sent >= 0:
            return True
        if error == EAGAIN or error == EINTR:
            return False
        raise OSError(error, os.strerror(error))

    cdef bint send_by_object(self, bytes data, address) except -1:
        """For addresses that only the socket object understands, or complains about."""
        try:
            self.sock.sendto(data, address)
        except (BlockingIOError, InterruptedError):
            return False
        return True

    cdef int wait_for_room(self) except -1:
        if not self.retrying and self.send_operation.state == OPERATION_IDLE:
            self.loop.engine.submit(&self.send_operation)
        return 0

    cdef int send_queue(self) except -1:
        """There may be room: send what waits, then see what is to be done next."""
        cdef Py_ssize_t unsent_bytes = self.unsent_bytes
        PyContext_Enter(self.context)
        try:
            self.send_some()
            self.resume_protocol_if_drained()
        finally:                              # a callback may have raised KeyboardInterrupt
            PyContext_Exit(self.context)
            if self.lost:
                pass
            elif self.queue and self.unsent_bytes == unsent_bytes:
                self.retrying = True
                self.loop.call_later(RETRY_SECONDS, self._retry)
            elif self.queue or self.protocol_paused:
                self.wait_for_room()
            elif self.closing:
                self.become_lost(None)
        return 0

    def _retry(self):
        self.retrying = False
        if not self.lost:
            self.send_queue()

    cdef int send_some(self) except -1:
        cdef int count
        for count in range(DATAGRAMS_PER_TURN):
            if not self.queue:
                return 0
            data, address = self.queue[0]
            error = None
            try:
                if not self.send_now(data, address):
                    return 0
            except OSError as refusal:
                error = refusal
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as failure:
                return self.fatal_error(failure, "Fatal write error on datagram transport")
            self.queue.popleft()
            self.unsent_bytes -= PyBytes_GET_SIZE(data) + header_bytes
            if error is not None:
                self.tell(None, error)
        return 0

    # ---- ending ---------------------------------------------------------------------------

    def close(self):
        """Stop receiving, send what waits for room, then close. Idempotent."""
        if self.check_caller():
            return self.hand_over(self.close, ())
        if self.closing:
            return
        self.closing = True
        self.stop_receiving()
        if not self.queue:
            self.become_lost(None)

    def abort(self):
        """Close at once, dropping what waits for room."""
        if self.check_caller():
            return self.hand_over(self.abort, ())
        self.force_close(None)

    cdef int force_close(self, error) except -1:
        if self.lost:
            return 0
        self.queue.clear()
        self.unsent_bytes = 0
        if self.send_operation.state != OPERATION_IDLE:
            self.loop.engine.cancel(&self.send_operation)
        if not self.closing:
            self.closing = True
            self.stop_receiving()
        return self.become_lost(error)


cdef int on_datagram_waiting(Operation *operation, int result, unsigned int flags) except -1:
    cdef DatagramTransport transport = <DatagramTransport>operation.owner
    try:
        if result >= 0:
            transport.receive_waiting()
    finally:
        if result >= 0:
            transport.receive()
        transport.close_descriptor_when_idle()
    return 0


cdef int on_room_for_datagrams(Operation *operation, int result, unsigned int flags) except -1:
    cdef DatagramTransport transport = <DatagramTransport>operation.owner
    try:
        if not transport.lost:
            transport.send_queue()
    finally:
        transport.close_descriptor_when_idle()
    return 0


cdef DatagramTransport make_datagram_transport(BaseLoop loop, sock, protocol, address, context):
    """A transport that owns `sock`, which is non-blocking; not yet receiving."""
    cdef DatagramTransport transport = DatagramTransport.__new__(DatagramTransport)
    cdef int fd = sock.fileno()
    operation_init(&transport.receive_operation, transport, on_datagram_waiting, fd)
    transport.receive_operation.kind = POLL
    transport.receive_operation.events = POLLIN
    operation_init(&transport.send_operation, transport, on_room_for_datagrams, fd)
    transport.send_operation.kind = POLL
    transport.send_operation.events = POLLOUT
    transport.address = address
    transport.queue = deque()
    transport.family = sock.family
    try:
        transport.sockname = sock.getsockname()
    except OSError:                           # AF_ALG, for one, has no names
        pass
    try:
        transport.peername = sock.getpeername()
        transport.has_peer = True
    except OSError:
        pass
    transport.attach(loop, fd, sock, protocol, context, None)
    return transport
