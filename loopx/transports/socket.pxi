# What transports on sockets add to the others: addresses, a Python socket for those who ask for
# one, and a descriptor that nobody else may watch meanwhile.
# Only the loop's thread may touch it. It moves no bytes.

cdef class SocketTransport(DescriptorTransport):
    """What a connected socket adds: addresses, and a Python socket for those who ask."""

    cdef object sock                  # socket.socket: given, or made when somebody asks
    cdef object peername              # None until known
    cdef object sockname
    cdef SocketAddress peer           # as accept(2) gave it, until asked for
    cdef unsigned char peer_length    # bytes of `peer`; 0: none
    cdef bint eof_written
    cdef bint sock_given              # somebody else has the socket, and may close it

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

    def get_extra_info(self, name, default=None):
        """'socket' (TransportSocket), 'sockname' or 'peername', as asyncio has them."""
        with cython.critical_section(self):       # without a GIL, any thread may ask
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
        if self.check_caller():
            return self.hand_over(self.pause_reading, ())
        if not self.closing and not self.paused:
            self.paused = True

    cdef str noun(self):
        return "socket"

    cdef int close_descriptor(self) except -1:
        cdef int fd = self.fd
        with cython.critical_section(self):
            if self.peername is None and not self.peer_length:
                self.peername = remote_address(fd)      # asked for after closing, too
            if self.sockname is None:
                self.sockname = local_address(fd)
            self.fd = -1
        self.loop.disown_descriptor(fd, self)
        if self.sock is None:
            posix_close(fd)
            return 0
        return self.close_file(self.sock)
