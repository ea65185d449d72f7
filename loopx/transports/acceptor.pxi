# Accepting connections on a listening socket.
# Waits for readiness through the ring, then accepts until the queue is empty: accept4(2) gives
# the peer's address, which a multishot accept cannot, and a peer may be gone when asked later.
# Only the loop's thread may touch it. It does not own the listening socket.

cdef enum:
    ACCEPT_PAUSE_SECONDS = 1          # after running out of descriptors, as asyncio


@cython.final
cdef class Acceptor:
    """Makes a protocol and a transport for each connection that comes in."""

    cdef Operation operation
    cdef BaseLoop loop
    cdef object sock
    cdef object protocol_factory
    cdef object server
    cdef object context
    cdef int backlog
    cdef bint tcp
    cdef bint is_local                # a Unix socket
    cdef bint active

    def __init__(self, loop, sock, protocol_factory, server, int backlog):
        if self.loop is not None:
            raise RuntimeError("this acceptor is made already")
        self.loop = loop
        self.sock = sock
        self.protocol_factory = protocol_factory
        self.server = server
        self.backlog = max(backlog, 1)
        self.context = PyContext_CopyCurrent()
        self.tcp = sock.family in (AF_INET, AF_INET6)
        self.is_local = sock.family == AF_UNIX
        operation_init(&self.operation, self, on_connection_waiting, sock.fileno())
        self.operation.kind = POLL
        self.operation.events = POLLIN

    def start(self):
        """Accept from now on. Idempotent."""
        self.loop.check_closed()
        if not self.active:
            self.active = True
            self.wait()

    def stop(self):
        """Accept no more. Idempotent; the socket stays open."""
        self.active = False
        if self.operation.state != OPERATION_IDLE and not self.loop.closed:
            self.loop.engine.cancel(&self.operation)
            # As long as the kernel holds the operation the socket listens, even when closed.
            self.loop.engine.flush()

    cdef int wait(self) except -1:
        if self.active and self.operation.state == OPERATION_IDLE and not self.loop.closed:
            self.loop.engine.submit(&self.operation)
        return 0

    def _resume(self):
        self.wait()

    cdef int accept_waiting(self) except -1:
        """Accept what is there, at most a backlog of it; True when accepting goes on."""
        cdef FullSocketAddress address
        cdef socklen_t length
        cdef int fd, count
        for count in range(self.backlog):
            if not self.active:
                return False
            if self.sock.fileno() != self.operation.fd:     # closed: the number may be another's
                self.report(EBADF, "socket.accept() failed")
                return False
            length = sizeof(address)
            fd = accept4(self.operation.fd, &address.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
            self.loop.engine.system_calls += 1
            if fd >= 0:
                self.connected(fd, &address, length)
            elif errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                self.pause(errno, "socket.accept() out of system resource")
                return False
            elif errno == EAGAIN:
                return True
            elif errno == EBADF or errno == EINVAL or errno == ENOTSOCK:
                self.report(errno, "socket.accept() failed")     # no listening socket any more
                return False
            elif errno != EINTR and errno != ECONNABORTED:
                self.pause(errno, "socket.accept() failed, and is tried again")
                return False
        return True

    cdef int pause(self, int error, message) except -1:
        """Out of descriptors or memory, or the network's fault: say so, and try again later."""
        self.report(error, message)
        self.loop.call_later(ACCEPT_PAUSE_SECONDS, self._resume)
        return 0

    cdef int report(self, int error, message) except -1:
        self.loop.call_exception_handler({
            "message": message,
            "exception": OSError(error, os.strerror(error)),
            "socket": TransportSocket(self.sock),
        })
        return 0

    cdef int connected(self, int fd, const FullSocketAddress *address, socklen_t length) except -1:
        context = self.context.copy()
        PyContext_Enter(context)
        try:
            self.make_transport(fd, address, length, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.loop.call_exception_handler({
                "message": "Error on transport creation for incoming connection",
                "exception": error,
            })
        finally:
            PyContext_Exit(context)
        return 0

    cdef int make_transport(self, int fd, const FullSocketAddress *address, socklen_t length,
                            context) except -1:
        cdef StreamTransport transport
        try:
            if self.tcp:
                set_nodelay(fd)
            protocol = self.protocol_factory()
            transport = make_stream_transport(self.loop, fd, None, protocol, context, self.server)
        except BaseException:
            posix_close(fd)
            raise
        transport.is_local = self.is_local
        if length <= sizeof(SocketAddress):
            memcpy(&transport.peer, address, length)
            transport.peer_length = length
        else:
            transport.peername = address_to_python(address, length)
        try:
            transport.connected()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.loop.call_exception_handler({
                "message": "Exception in protocol.connection_made()",
                "exception": error,
                "transport": transport,
                "protocol": protocol,
            })
        return 0


cdef int on_connection_waiting(Operation *operation, int result, unsigned int flags) except -1:
    cdef Acceptor acceptor = <Acceptor>operation.owner
    cdef bint again = True
    if result < 0 or not acceptor.active:
        if acceptor.active and result == -ECANCELED:
            acceptor.wait()
        return 0
    try:
        again = acceptor.accept_waiting()
    finally:
        if again:
            acceptor.wait()
    return 0
