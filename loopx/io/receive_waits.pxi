# Which sockets' next sock_recv will have to wait: those whose last ones all had to. A receive is
# tried at once, as asyncio does, but a system call that finds nothing takes a tenth of an exchange
# of small messages. So such a socket waits for readiness at once, and receives what is there in the
# same turn. Now and then one is tried all the same. A wait that was cancelled does not count: who
# comes back to look finds what is there.
# By descriptor: a new socket that gets an old one's number is at worst not tried at first.

cdef enum:
    WAITS_EXPECTED = 8                # in a row: the next receive is expected to wait too
    WAITS_BEFORE_A_TRY = 24           # in a row: the next one is tried; then it begins at 8 again


cdef struct ReceiveWaits:
    unsigned char *in_a_row           # by descriptor
    int length


cdef inline void receive_waits_free(ReceiveWaits *waits) noexcept:
    free(waits.in_a_row)
    waits.in_a_row = NULL
    waits.length = 0


cdef inline bint expects_to_wait(unsigned char in_a_row) noexcept:
    return WAITS_EXPECTED <= in_a_row < WAITS_BEFORE_A_TRY


cdef inline unsigned char take_receive_waits(ReceiveWaits *waits, int fd) noexcept:
    """How many receives in a row waited; from now on none, until one is answered."""
    cdef unsigned char in_a_row
    if not 0 <= fd < waits.length:
        return 0
    in_a_row = waits.in_a_row[fd]
    waits.in_a_row[fd] = 0
    return in_a_row


cdef inline void note_receive_wait(ReceiveWaits *waits, int fd, unsigned char before) noexcept:
    """A receive waited and was answered; `before` it, so many had. Short of memory: none had."""
    cdef unsigned char *longer
    cdef int length
    if fd >= waits.length:
        length = max(64, 2 * fd)
        longer = <unsigned char *>realloc(waits.in_a_row, length)
        if longer == NULL:
            return
        memset(longer + waits.length, 0, length - waits.length)
        waits.in_a_row, waits.length = longer, length
    waits.in_a_row[fd] = before + 1 if before < WAITS_BEFORE_A_TRY else WAITS_EXPECTED
