# When a stream's data is bulk, and how its transport is told that there is some.
# Only the loop's thread may touch it. What is received, and into what: transports/receiving.pxi.
#
# Bulk begins when a batch brings BULK_BYTES and ends after BULK_SMALL_READS small reads in a row.
# The transport is told by a poll for each receive. On TCP, once BULK_SHORT_READS receives in a row,
# within BULK_SHORT_READS_NS, took all there was, one poll goes on telling. When it is made it looks
# at what is there, too, but afterwards it tells only of what comes. So it is ended, and a new poll
# made, where something may be left: after a receive that filled its buffer or was not made, where
# bulk is over, and after being told of more than data, as the end may have come with the last of
# it. Nothing tells of an urgent byte, which ends a receive as well: so it is back to a poll for
# each after POLL_ON_SECONDS with few receives, well below the rate at which it is made: who went
# back and forth would be served out of turn each time. Data that such a byte hides waits for the
# end of that time and of the next, with none, at most. (A new poll each time has a message wait
# two turns, which p99 shows.) A Unix socket's receives end at descriptors, which are no rarity
# there: a poll for each.
# One message may be told of twice, as it comes in two pieces. If the second time, too, something
# was received, it would be the next message, before its turn, and from then on each: the connection
# would be served twice a round. So what was told before the last receive is passed over.

cdef enum:
    BULK_BYTES = 8192
    BULK_RECEIVE_BYTES_MIN = 65536
    TLS_RECEIVE_BYTES_MAX = 131072   # is copied, decrypted, joined: twice that left the caches
    BULK_SMALL_BYTES = 4096
    BULK_SMALL_READS = 8
    BULK_SHORT_READS = 32
    BULK_SHORT_READS_NS = 125000000
    POLL_ON_READS_MIN = 8

cdef double POLL_ON_SECONDS = 0.05


cdef class BulkTransport(SocketTransport):
    """A connected stream socket that knows whether bulk comes."""

    cdef object poll_timer           # while one poll goes on: a TimerHandle, or None
    cdef int bulk_bytes              # what the next bulk receive asks for; 0: not in bulk
    cdef unsigned int short_reads    # in a row
    cdef long long short_since_ns    # when the first of them was
    cdef unsigned char small_reads   # in a row
    cdef bint is_tcp
    cdef bint may_have_left          # data that is there: the last receive, or that none was made
    cdef unsigned long long received_at      # completions collected before that

    @cython.nonecheck(False)
    cdef inline int look_for_bulk(self, Py_ssize_t length) except -1:
        """So much came at once: whether to receive straight into what is handed out."""
        if length >= BULK_BYTES and not self.bulk_bytes:
            self.begin_bulk()
            self.stop_receiving()
        return 0

    @cython.nonecheck(False)
    cdef inline int receive_bytes_max(self) noexcept:
        """How much to receive at once. Less while several peers stream: on AMD family 25 they send
        more where it is received in such pieces, as they do to a server in C."""
        if (self.bulk_bytes > BULK_RECEIVE_BYTES_MIN and not self.takes_bytes
                and peers_stream(&self.loop.engine.streaming)):
            return BULK_RECEIVE_BYTES_MIN
        return self.bulk_bytes

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
            self.receive_operation.kind = POLL_MULTISHOT
            if self.poll_timer is None:
                self.judge_poll_later()
        self.receive_operation.events = POLLIN | POLLRDHUP
        return 0

    cdef int judge_poll_later(self) except -1:
        self.poll_timer = self.loop.call_later(POLL_ON_SECONDS, self._judge_poll)
        return 0

    def _judge_poll(self):
        self.poll_timer = None
        if self.receive_operation.kind != POLL_MULTISHOT:
            return
        if self.short_reads < BULK_SHORT_READS + POLL_ON_READS_MIN:
            self.poll_for_each()
        else:
            self.short_reads = BULK_SHORT_READS
            self.judge_poll_later()

    cdef int poll_for_each(self) except -1:
        """End the poll that goes on, if there is one."""
        self.short_reads = 0
        self.drop_poll_timer()
        return self.stop_receiving()

    cdef int drop_poll_timer(self) except -1:
        if self.poll_timer is not None:
            self.poll_timer.cancel()
            self.poll_timer = None
        return 0

    @cython.nonecheck(False)
    cdef void received_bulk(self, Py_ssize_t length, Py_ssize_t room) noexcept:
        """Note what may be left, and whether bulk goes on; ask for more next time if it was all."""
        self.may_have_left = length == room
        self.loop.engine.bulk_dispatched += length
        if self.is_tcp:                        # other sockets and pipes hold little of it
            streaming_received(&self.loop.engine.streaming, <void *>self, length)
        if self.may_have_left:
            self.short_reads = 0
            self.receive_operation.fills = BULK_SMALL_READS
        else:
            self.short_reads += 1
            if self.short_reads == 1:
                self.short_since_ns = monotonic_ns()
            elif (self.short_reads == BULK_SHORT_READS
                    and monotonic_ns() - self.short_since_ns > BULK_SHORT_READS_NS):
                self.short_reads = 0
            self.receive_operation.fills -= self.receive_operation.fills != 0
        if length == self.bulk_bytes and self.bulk_bytes < (
                TLS_RECEIVE_BYTES_MAX if self.takes_bytes else BULK_SPACE_BYTES):
            self.bulk_bytes *= 2
        if length > BULK_SMALL_BYTES:
            self.small_reads = 0
            return
        self.small_reads += 1
        if self.small_reads == BULK_SMALL_READS:
            self.small_reads = 0
            self.bulk_bytes = self.receive_operation.fills = 0
            self.may_have_left = True          # or the poll would go on until the next data

    cdef int close_descriptor(self) except -1:
        self.drop_poll_timer()
        return SocketTransport.close_descriptor(self)


cdef bint speaks_tcp(int fd) noexcept:
    cdef int protocol = 0
    cdef socklen_t length = sizeof(protocol)
    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length)
    return protocol == IPPROTO_TCP
