# The data plane of a ring: take a submission entry, enter the kernel, look at completions.
# Works on the same `struct io_uring` that ring/control.py has set up; owns no memory.
# Only the thread that made the ring may call this (SINGLE_ISSUER). No Python objects.
# Memory ordering: the kernel reads the submission tail and writes the completion tail on
# another core, so each is stored with release and loaded with acquire order.

from libc.string cimport memset
from loopx.ring.liburing cimport *

cdef extern from * nogil:
    """
    #define loopx_load_acquire(pointer) __atomic_load_n((pointer), __ATOMIC_ACQUIRE)
    #define loopx_store_release(pointer, value) \\
        __atomic_store_n((pointer), (value), __ATOMIC_RELEASE)
    /* min_wait_usec is called pad in headers from before Linux 6.12 */
    #define loopx_set_min_wait_us(argument, us) \\
        memcpy((char *)&(argument) + offsetof(struct io_uring_getevents_arg, ts) - 4, &(us), 4)
    """
    void loopx_set_min_wait_us(io_uring_getevents_arg argument, unsigned int us)
    unsigned int loopx_load_acquire(unsigned int *pointer)
    void loopx_store_release(unsigned int *pointer, unsigned int value)


cdef enum:
    FEATURE_MIN_TIMEOUT = 1 << 15    # Linux 6.12; by number, for older headers

cdef struct Ring:
    io_uring *uring
    unsigned int fd              # what io_uring_enter takes: a descriptor or a registered index
    unsigned int enter_flags     # flags that every io_uring_enter of this ring carries
    unsigned int tail            # entries handed out; published to the kernel by ring_enter
    unsigned int submitted       # entries that the kernel has taken


cdef inline void ring_attach(Ring *ring, io_uring *uring, unsigned int fd,
                             unsigned int enter_flags) noexcept nogil:
    """Start from a ring that control.py has just made."""
    cdef unsigned int index
    ring.uring = uring
    ring.fd = fd
    ring.enter_flags = enter_flags
    ring.tail = ring.submitted = uring.sq.ktail[0]
    # Old liburing fills the indirection array while submitting; once and for all is enough.
    if uring.sq.array != NULL:
        for index in range(uring.sq.ring_entries):
            uring.sq.array[index] = index


cdef inline unsigned int ring_unsubmitted(Ring *ring) noexcept nogil:
    return ring.tail - ring.submitted


cdef inline io_uring_sqe *ring_next_submission(Ring *ring) noexcept nogil:
    """A cleared submission entry, or NULL when all are taken: enter the kernel and ask again."""
    cdef io_uring_sq *sq = &ring.uring.sq
    cdef io_uring_sqe *sqe
    if ring.tail - loopx_load_acquire(sq.khead) >= sq.ring_entries:
        return NULL
    sqe = &sq.sqes[ring.tail & sq.ring_mask]
    ring.tail += 1
    memset(sqe, 0, sizeof(io_uring_sqe))
    return sqe


cdef inline bint ring_has_overflowed(Ring *ring) noexcept nogil:
    """Whether the kernel keeps completions that the ring had no room for."""
    return (ring.uring.sq.kflags[0] & IORING_SQ_CQ_OVERFLOW) != 0


cdef inline bint ring_has_kernel_work(Ring *ring) noexcept nogil:
    """Whether the kernel asks to be entered: deferred task work, or completions that overflowed."""
    return (loopx_load_acquire(ring.uring.sq.kflags)
            & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0


cdef inline unsigned int ring_completions_ready(Ring *ring) noexcept nogil:
    cdef io_uring_cq *cq = &ring.uring.cq
    return loopx_load_acquire(cq.ktail) - cq.khead[0]


cdef inline io_uring_cqe *ring_completion(Ring *ring, unsigned int index) noexcept nogil:
    cdef io_uring_cq *cq = &ring.uring.cq
    return &cq.cqes[(cq.khead[0] + index) & cq.ring_mask]


cdef inline void ring_consume(Ring *ring, unsigned int count) noexcept nogil:
    cdef io_uring_cq *cq = &ring.uring.cq
    loopx_store_release(cq.khead, cq.khead[0] + count)


cdef inline int ring_do_kernel_work(Ring *ring) noexcept nogil:
    """Have deferred task work done, without submitting anything. Minus errno where that failed."""
    return io_uring_enter2(ring.fd, 0, 0, IORING_ENTER_GETEVENTS | ring.enter_flags, NULL, 8)


cdef inline bint ring_can_batch(Ring *ring) noexcept nogil:
    """Whether ring_enter() may be given `min_wait_us`."""
    return ring.uring.features & FEATURE_MIN_TIMEOUT != 0


cdef inline int ring_enter(Ring *ring, unsigned int min_complete,
                           long long timeout_ns, unsigned int min_wait_us) noexcept nogil:
    """Publish what is queued, submit it, and wait for `min_complete` completions.

    Once `min_wait_us` have passed, if they are not 0, one will do. A negative timeout waits
    for ever, or for those. Returns entries submitted, or minus errno (ETIME when
    the timeout passed, EINTR for a signal, EBUSY when completions must be drained first).
    """
    cdef io_uring_getevents_arg argument
    cdef __kernel_timespec timeout
    cdef unsigned int flags = IORING_ENTER_GETEVENTS | ring.enter_flags
    cdef unsigned int to_submit = ring_unsubmitted(ring)
    cdef int result
    loopx_store_release(ring.uring.sq.ktail, ring.tail)
    if min_complete and (timeout_ns >= 0 or min_wait_us):
        memset(&argument, 0, sizeof(argument))
        loopx_set_min_wait_us(argument, min_wait_us)
        if timeout_ns >= 0:
            timeout.tv_sec = timeout_ns // 1000000000
            timeout.tv_nsec = timeout_ns % 1000000000
            argument.ts = <uint64_t><size_t>&timeout
        result = io_uring_enter2(ring.fd, to_submit, min_complete, flags | IORING_ENTER_EXT_ARG,
                                 <sigset_t *>&argument, sizeof(argument))
    else:
        result = io_uring_enter2(ring.fd, to_submit, min_complete, flags, NULL, 8)
    # The kernel's head, not the result, says what was taken: with ETIME or EINTR the
    # result is the error although entries were submitted before the wait.
    ring.submitted = loopx_load_acquire(ring.uring.sq.khead)
    return result
