# TLS over a transport: asyncio.sslproto.SSLProtocol with its per-packet paths compiled.
# Handshake, shutdown, timeouts, flow control and errors are asyncio's own; what is here is what
# runs for each packet of an established connection. Only the loop's thread may touch it.
#
# Two things cost SSLProtocol most: it asks OpenSSL for more until that raises SSLWantReadError, and
# it makes a 256 KiB bytes object for each read. A record holds at most 16 KiB of plaintext, and
# when neither the incoming buffer nor OpenSSL holds anything there is nothing more to ask for.

cdef enum:
    RECORD_BYTES_MAX = 16384
    ENCRYPTED_AT_ONCE_MAX = 3 * RECORD_BYTES_MAX
    ENCRYPTED_PIECES_MAX = 10                # of a call: eleven would exceed SEND_BYTES_MAX

cdef object WRAPPED = SSLProtocolState.WRAPPED
cdef object FLUSHING = SSLProtocolState.FLUSHING
cdef object SSLObject = None if ssl is None else ssl.SSLObject
cdef object NATIVE_TLS = None if ssl is None else ssl._ssl._SSLSocket
cdef tuple SSL_AGAIN_ERRORS = () if ssl is None else (ssl.SSLWantReadError, ssl.SSLSyscallError)


cdef class TLSState:
    """The attributes of SSLProtocol that each packet asks for, as fields of a struct.

    SSLProtocol's own methods find them by name, as they would in the instance's dictionary.
    """

    cdef public object _state
    cdef public object _app_protocol
    cdef public object _transport
    cdef public object _incoming             # ssl.MemoryBIO
    cdef public object _outgoing
    cdef public object _write_backlog        # deque
    cdef public Py_ssize_t _write_buffer_size
    cdef public bint _app_protocol_is_buffer
    cdef public bint _app_reading_paused
    cdef public bint _app_writing_paused
    cdef public bint _ssl_reading_paused
    cdef public bint _ssl_writing_paused
    cdef bint feeds_reader                   # feed_stream_reader stands for data_received
    cdef object wrapper
    cdef object native                       # its read, write and pending, called directly
    cdef bint is_native                      # or a program's own, which may keep what it is given

    @property
    def _sslobj(self):
        return self.wrapper

    @_sslobj.setter
    def _sslobj(self, wrapper):
        self.wrapper = wrapper
        self.native = wrapper._sslobj if type(wrapper) is SSLObject else wrapper
        self.is_native = type(self.native) is NATIVE_TLS


class TLSProtocol(TLSState, SSLProtocol):
    """asyncio.sslproto.SSLProtocol, faster once the handshake is done."""

    def _on_handshake_complete(self, handshake_exc):
        try:
            SSLProtocol._on_handshake_complete(self, handshake_exc)
        except (KeyboardInterrupt, SystemExit):
            # Raised by connection_made. The connection stands: whoever opened it is told, and
            # what came with the handshake, or has to leave for it to end, is not left behind.
            self._wakeup_waiter()
            self._loop.call_soon(self._do_read)
            raise

    def _set_app_protocol(self, app_protocol):
        SSLProtocol._set_app_protocol(self, app_protocol)
        note_app_protocol(self, self._loop.get_debug())

    def _do_read(self):
        read_tls(self)

    def eof_received(self):
        keep_open = SSLProtocol.eof_received(self)
        return keep_open or self._state is FLUSHING

    def _do_flush(self):
        # Unlike SSLProtocol, which hands one buffer of what came in before the end and drops the
        # rest: the end may be told in the same turn as the data.
        if self._state is not FLUSHING:
            return                             # over before the turn in which to go on
        if self._eof_received and self._app_protocol_is_buffer:
            fill_buffers(self)
            if self._state is not FLUSHING or held_up(self):
                return                         # resume_reading() makes it go on
        SSLProtocol._do_flush(self)

    def _get_app_transport(self):
        if self._app_transport is None and not self._app_transport_created:
            self._app_transport = SSLTransport(self._loop, self)
            self._app_transport_created = True
            return self._app_transport
        return SSLProtocol._get_app_transport(self)

    def _process_outgoing(self):
        send_ciphertext(self)


cdef int note_app_protocol(TLSState protocol, bint debug) except -1:
    protocol.feeds_reader = adopt_stream_reader(protocol._app_protocol, debug)
    return 0


cdef int receive_ciphertext(TLSState protocol, bytes data) except -1:
    """What a transport calls instead of get_buffer() and buffer_updated()."""
    protocol._incoming.write(data)
    if protocol._state is WRAPPED:
        read_tls(protocol)
    else:
        SSLProtocol.buffer_updated(protocol, 0)       # acts on what came in, by state
    return 0


cdef int read_tls(TLSState protocol) except -1:
    if (protocol._state is not WRAPPED or protocol._app_reading_paused
            or protocol._app_protocol_is_buffer or not protocol.is_native):
        SSLProtocol._do_read(protocol)
        return 0
    try:
        hand_out_plaintext(protocol)
        if protocol._write_backlog:
            protocol._do_write()
        else:
            send_ciphertext(protocol)
        if protocol._ssl_reading_paused or protocol._incoming.pending:
            protocol._control_ssl_reading()
    except Exception as error:
        protocol._fatal_error(error, "Fatal error on SSL protocol")
    return 0


cdef int send_ciphertext(TLSState protocol) except -1:
    outgoing = protocol._outgoing
    if outgoing.pending and not protocol._ssl_writing_paused:
        protocol._transport.write(outgoing.read())
    if protocol._app_writing_paused or protocol._write_buffer_size or outgoing.pending:
        protocol._control_app_writing()
    return 0


cdef int hand_out_plaintext(TLSState protocol) except -1:
    """Decrypt what has come in; one data_received for all of it, as SSLProtocol does."""
    cdef bint closed = False
    data = None
    try:
        data = protocol.native.read(RECORD_BYTES_MAX)
        if not data:
            data, closed = None, True          # close_notify
        elif protocol._incoming.pending or protocol.native.pending():
            data = with_what_follows(protocol, data, &closed)
    except SSL_AGAIN_ERRORS:
        pass
    if data is not None:
        if not protocol.feeds_reader or not feed_stream_reader(protocol._app_protocol, data):
            protocol._app_protocol.data_received(data)
    if closed:
        protocol._call_eof_received()
        protocol._start_shutdown()
    return 0


cdef bytes with_what_follows(TLSState protocol, bytes first, bint *closed):
    """`first` and all that comes after it, in one object, straight into which it is decrypted.

    The object is made as long as the ciphertext and cut to the plaintext, which is shorter, but
    where TLS 1.2 compresses. This saves an object for each record and a copy of all.
    """
    cdef Py_ssize_t length = PyBytes_GET_SIZE(first), size, count = 0
    cdef PyObject *cut
    tls, incoming = protocol.native, protocol._incoming
    size = length + <Py_ssize_t>incoming.pending + <Py_ssize_t>tls.pending()
    cdef bytes space = PyBytes_FromStringAndSize(NULL, size)
    memcpy(PyBytes_AS_STRING(space), PyBytes_AS_STRING(first), length)
    try:
        while length < size and (incoming.pending or tls.pending()):
            # Released at once: whoever found the view (gc.get_objects) may not read what is gone.
            with PyMemoryView_FromMemory(PyBytes_AS_STRING(space) + length, size - length,
                                         PyBUF_WRITE) as view:
                count = tls.read(size - length, view)
            if count == 0:
                closed[0] = True
                break
            length += count
        if length == size:
            protocol._loop.call_soon(protocol._do_read)
    except SSL_AGAIN_ERRORS:
        pass
    Py_INCREF(space)
    cut, space = <PyObject *>space, None       # whose only reference that is, as it has to be
    _PyBytes_Resize(&cut, length)
    space = <bytes>cut
    Py_DECREF(space)
    return space


cdef bint held_up(TLSState protocol) except -1:
    """Whether the protocol wants the rest of the data later; one that closed wants none."""
    return protocol._app_reading_paused and not protocol._get_app_transport()._closed


cdef int fill_buffers(TLSState protocol) except -1:
    """Hand a BufferedProtocol all that has come in, until it pauses, closes or takes no more."""
    incoming = protocol._incoming
    tls = protocol.native
    transport = protocol._get_app_transport()
    before, left = None, (incoming.pending, tls.pending())
    while any(left) and left != before and protocol._state is FLUSHING:
        if protocol._app_reading_paused or transport._closed:
            break
        protocol._do_read()
        before, left = left, (incoming.pending, tls.pending())
    return 0


class SSLTransport(SSLProtocolTransport):
    """asyncio's transport over TLS, with a short way for what is written in the usual state.

    Programs look for "ssl" in the name of its class, as in that of asyncio's.
    """

    def close(self):
        SSLProtocolTransport.close(self)
        protocol = self._ssl_protocol
        if protocol is not None and protocol._state is FLUSHING:
            # The peer has ended, and the rest waited for resume_reading(): nobody wants it now.
            self._loop.call_soon(protocol._do_flush)

    def write(self, data):
        protocol = self._ssl_protocol                 # None after a second close()
        if PyBytes_CheckExact(data) and isinstance(protocol, TLSState):
            if PyBytes_GET_SIZE(data):
                write_plaintext(protocol, data)
        else:
            SSLProtocolTransport.write(self, data)


cdef int write_plaintext(TLSState protocol, bytes data) except -1:
    """Encrypt and send, unless something is ahead in the queue or the connection is ending."""
    cdef Py_ssize_t count = 0
    if protocol._state is WRAPPED and not protocol._write_backlog:
        try:
            if (PyBytes_GET_SIZE(data) <= ENCRYPTED_AT_ONCE_MAX or protocol._ssl_writing_paused
                    or protocol._outgoing.pending):
                count = protocol.native.write(data)
            else:
                write_in_pieces(protocol, data, &count)
            send_ciphertext(protocol)
        except SSL_AGAIN_ERRORS:
            pass
        except Exception as error:
            protocol._fatal_error(error, "Fatal error on SSL protocol")
            return 0
        except BaseException:                  # KeyboardInterrupt: what is left goes on by itself
            protocol._loop.call_soon(protocol._write_appdata, ())
            raise
        if count == PyBytes_GET_SIZE(data):
            return 0
    protocol._write_appdata((data[count:],))
    return 0


cdef int write_in_pieces(TLSState protocol, bytes data, Py_ssize_t *count) except -1:
    """Encrypt some records at a time and send them together, `count` bytes until it raises.

    So OpenSSL's buffer, which each connection has, holds few records, in the caches; and as many
    as one call sends leave while they are in the caches, and their memory with them. One record
    at a time calls Python's TLS more often: up to a tenth fewer downloads.
    """
    cdef list pieces = [], sent
    cdef bint was_closing
    transport = protocol._transport
    view = memoryview(data)
    try:
        while count[0] < PyBytes_GET_SIZE(data):
            if len(pieces) == ENCRYPTED_PIECES_MAX:
                sent, pieces = pieces, []
                was_closing = transport.is_closing()
                transport.writelines(sent)
                sent = None                    # the next pieces take its memory, in the caches
                if transport.is_closing() and not was_closing:
                    count[0] = len(view)       # the peer is gone, and the rest would go nowhere
                    break
            piece = view[count[0]:count[0] + ENCRYPTED_AT_ONCE_MAX]
            count[0] += protocol.native.write(piece)
            pieces.append(protocol._outgoing.read())
    except Exception:
        raise
    except BaseException:                      # KeyboardInterrupt: what follows has to be sent yet
        if protocol._outgoing.pending:         # OpenSSL has the piece, which was not counted
            count[0] += len(piece)
        if count[0] < len(view):
            protocol._write_backlog.append(view[count[0]:])
            protocol._write_buffer_size += len(view) - count[0]
        raise
    finally:
        if pieces:
            transport.writelines(pieces)
    return 0
