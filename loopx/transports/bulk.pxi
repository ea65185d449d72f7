# When a stream's data is bulk, and how its transport is told that there is some.
# Only the loop's thread may touch it. What is received, and into what: transports/receiving.pxi.
#
# Bulk begins when a batch brings BULK_BYTES and ends after BULK_SMALL_READS small reads in a row.
# The transport is told by a poll for each receive, which looks at what is there, too. TCP's, once
# BULK_SHORT_READS in a row took all there was, by one poll that goes on. That tells of what comes
# only: so it ends where a receive filled its buffer, found nothing or was not made, and where it
# tells of more than data (the end, which came with the last of it). An urgent byte ends a receive
# early, too, and nothing shows it: so it ends after POLL_ON_SECONDS in any case, which what is
# behind that byte may wait. A Unix socket's receive ends at descriptors, which are no rarity there:
# a poll for each.

cdef enum:
    BULK_BYTES = 8192
    BULK_RECEIVE_BYTES_MIN = 65536
    BULK_SMALL_BYTES = 4096
    BULK_SMALL_READS = 8
    BULK_SHORT_READS = 3

cdef double POLL_ON_SECONDS = 0.1


cdef class BulkTransport(SocketTransport):
    """A connected stream socket that knows whether bulk comes."""

    cdef int bulk_bytes              # what the next bulk receive asks for; 0: not in bulk
    cdef unsigned char small_reads
    cdef unsigned char short_reads
    cdef bint is_tcp
    cdef bint may_have_left          # the last bulk receive: data that is there
    cdef bint will_poll_anew         # a timer sees to it

    @cython.nonecheck(False)
    cdef inline int look_for_bulk(self, Py_ssize_t length) except -1:
        """So much came at once: whether to receive straight into what is handed out."""
        if length >= BULK_BYTES and not self.bulk_bytes:
            self.begin_bulk()
            self.stop_receiving()
        return 0

    cdef void begin_bulk(self) noexcept:
        self.bulk_bytes = BULK_RECEIVE_BYTES_MIN
        self.short_reads = 0
        self.is_tcp = speaks_tcp(self.fd)

    @cython.nonecheck(False)
    cdef int choose_poll(self) except -1:
        """Make the idle receive operation a poll for bulk."""
        if self.short_reads < BULK_SHORT_READS or not self.is_tcp:
            self.receive_operation.kind = POLL
        else:
            if not self.will_poll_anew:
                self.loop.call_later(POLL_ON_SECONDS, self._poll_anew)
                self.will_poll_anew = True
            self.receive_operation.kind = POLL_MULTISHOT
        self.receive_operation.events = POLLIN | POLLRDHUP
        return 0

    def _poll_anew(self):
        self.will_poll_anew = False
        if self.receive_operation.kind == POLL_MULTISHOT:
            self.poll_anew()

    cdef int poll_anew(self) except -1:
        """With a poll for each receive."""
        self.short_reads = 0
        return self.stop_receiving()

    @cython.nonecheck(False)
    cdef void received_bulk(self, Py_ssize_t length, Py_ssize_t room) noexcept:
        """Ask for more when the buffer was filled; leave bulk after several small reads."""
        self.may_have_left = length == room
        if self.may_have_left:
            self.short_reads = 0
        elif self.short_reads < BULK_SHORT_READS:
            self.short_reads += 1
        if length == self.bulk_bytes and self.bulk_bytes < BULK_SPACE_BYTES:
            self.bulk_bytes *= 2
        if length > BULK_SMALL_BYTES:
            self.small_reads = 0
            return
        self.small_reads += 1
        if self.small_reads == BULK_SMALL_READS:
            self.small_reads = 0
            self.bulk_bytes = 0
            self.may_have_left = True          # for the receive that comes now


cdef bint speaks_tcp(int fd) noexcept:
    cdef int protocol = 0
    cdef socklen_t length = sizeof(protocol)
    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length)
    return protocol == IPPROTO_TCP
