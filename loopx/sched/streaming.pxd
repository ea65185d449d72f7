# Whether peers send bulk without waiting for answers, so that more of it is about to come.
# Only the loop's thread may touch it. It knows no ring: it is told what happened, and when.
#
# Who is asleep is woken by whoever sends, for 5 to 30 us of its time in a virtual machine, a dozen
# times for 1 MiB. While several peers stream, a wait for more than the first event (a batch) spares
# them most of that, and more is received at a time. But who is to be answered waits for this loop,
# and so does, at its end, a stream that is alone. So it takes two peers, and several waits in a row
# before each of which enough was received and, but now and then, nothing else happened.
# What they stream is received in smaller pieces, too (transports/bulk.pxi).
# A peer with little room for what it sends stands still meanwhile. So it is timed how long so many
# bytes take to come, without batches and with them: where they are slower, they are tried ever more
# rarely.

cdef enum:
    STREAMED_BYTES_MIN = 32768   # since the last wait; of less there is not enough to wait for
    OTHERS_FORGOTTEN = 16        # waits after which a sender who goes on is alone
    EVIDENCE_MIN = 4             # waits
    EVIDENCE_MAX = 8
    EVIDENCE_OF_ANSWER = 2       # waits that one with an answer outweighs
    PERIOD_BYTES = 16777216      # that are timed
    PAUSE_NS = 1000000           # from which on peers have paused: such a wait is not timed
    PERIODS_WITH_MAX = 64        # then one without batches is timed anew
    PERIODS_WITHOUT_MAX = 1024   # until batches that were slower are tried again

cdef struct Streaming:
    Py_ssize_t bytes             # of bulk, since the last wait
    unsigned long long polls     # that told of bulk, ever
    const void *sender           # of the last bulk: compared only
    int others                   # waits until the senders before it are forgotten
    int evidence
    unsigned long long writes    # what was written until the last wait,
    unsigned long long besides   # and the completions besides the polls
    long long asked_ns           # when the last wait began before which there was bulk
    Py_ssize_t period_bytes
    long long period_ns
    bint has_batches             # this period
    int periods                  # of its kind to come
    int periods_without          # how many that were, the last time batches were slower
    long long plain_ns           # what the last period without took


cdef inline void streaming_received(Streaming *streaming, const void *sender,
                                    Py_ssize_t length) noexcept nogil:
    streaming.bytes += length
    if streaming.sender != sender:
        if streaming.sender != NULL:
            streaming.others = OTHERS_FORGOTTEN
        streaming.sender = sender


cdef inline void streaming_end_period(Streaming *streaming) noexcept nogil:
    """Whether the next has batches. The first has none."""
    streaming.periods -= 1
    if not streaming.has_batches:
        streaming.plain_ns = streaming.period_ns
        if streaming.periods <= 0:
            streaming.has_batches = True
            streaming.periods = PERIODS_WITH_MAX
    elif streaming.period_ns > streaming.plain_ns + streaming.plain_ns // 8:
        streaming.has_batches = False
        streaming.periods_without = min(max(streaming.periods_without, 1) * 2, PERIODS_WITHOUT_MAX)
        streaming.periods = streaming.periods_without
    else:
        streaming.periods_without = 0
        streaming.has_batches = streaming.periods > 0
    streaming.period_bytes = 0
    streaming.period_ns = 0


cdef inline bint streaming_goes_on(Streaming *streaming, unsigned long long writes,
                                   unsigned long long dispatched, long long now_ns) noexcept nogil:
    """To be asked once before each wait that may sleep, with how much was written and how many
    completions were dispatched ever: whether it is to be a batch."""
    cdef unsigned long long besides = dispatched - streaming.polls
    if streaming.bytes < STREAMED_BYTES_MIN or streaming.others == 0:
        streaming.evidence = 0
    elif streaming.writes != writes or streaming.besides != besides:
        streaming.evidence = max(streaming.evidence - EVIDENCE_OF_ANSWER, 0)
    else:
        streaming.evidence = min(streaming.evidence + 1, EVIDENCE_MAX)
    if streaming.bytes:
        if now_ns - streaming.asked_ns < PAUSE_NS:
            streaming.period_bytes += streaming.bytes
            streaming.period_ns += now_ns - streaming.asked_ns
            if streaming.period_bytes >= PERIOD_BYTES:
                streaming_end_period(streaming)
        streaming.asked_ns = now_ns
        streaming.bytes = 0
    streaming.others -= streaming.others != 0
    streaming.writes = writes
    streaming.besides = besides
    return streaming.has_batches and peers_stream(streaming)


cdef inline bint peers_stream(const Streaming *streaming) noexcept nogil:
    """Whether several did so before each of the last waits."""
    return streaming.evidence >= EVIDENCE_MIN
