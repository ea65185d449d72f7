# Entering the kernel: the one system call of a turn, and how to wait in it: after a look for what
# has come, or for several completions.
# Only the loop's thread may touch it. It knows nothing of the operations in the ring, which are
# ring_engine.pxi's.

cdef enum:
    CALL_IS_LONG = 8             # submissions from which on the GIL is worth releasing
    RECEIVED_MAX = 80            # about as many completions with data are collected at a time
    BUSY_TURNS_MAX = 1           # turns with something to run that may go by without a look
    BATCH_COMPLETIONS = 8        # that end a wait for a batch (sched/streaming.pxd),
    BATCH_US = 50                # or how long it goes on,
    BATCH_TAKES_NS = 100000      # with the thread's timer slack (prctl(2)), which the kernel adds


cdef inline bint has_received(io_uring_cqe *cqe) noexcept:
    """Whether it carries data, or found no buffer for it."""
    return cqe.flags & IORING_CQE_F_BUFFER != 0 or cqe.res == -ENOBUFS


@cython.nonecheck(False)
cdef class EnteringEngine(CollectingEngine):
    """A ring, submitted to and waited for."""

    cdef Ring ring

    @cython.final
    cdef int enter(self, unsigned int min_complete, long long timeout_ns,
                   unsigned int min_wait_us=0) except -1:
        """One io_uring_enter(2). Returns 1 when a signal ended it, else 0."""
        cdef int result
        if self.bulk_dispatched and ring_unsubmitted(&self.ring):
            self.do_kernel_work_first()
        self.count_enter()
        if min_complete or ring_unsubmitted(&self.ring) >= CALL_IS_LONG:
            with nogil:
                result = ring_enter(&self.ring, min_complete, timeout_ns, min_wait_us)
        else:
            result = ring_enter(&self.ring, min_complete, timeout_ns, min_wait_us)
        return self.check_entered(result)

    @cython.final
    cdef inline void count_enter(self) noexcept:
        self.system_calls += 1
        self.enters += 1

    @cython.final
    cdef inline int check_entered(self, int result) except -1:
        if result >= 0 or result == -ETIME or result == -EBUSY or result == -EAGAIN:
            return 0     # EBUSY, EAGAIN: drain and come back; what was not taken stays queued
        if result == -EINTR:
            return 1
        raise OSError(-result, f"io_uring_enter: {os.strerror(-result)}")

    @cython.final
    cdef int do_kernel_work_first(self) except -1:
        """Have the kernel tell what polls have found before it makes new ones.

        A new poll tells at once of what is there when it is made. Told after that, who had
        nothing yet when the last turn's were told would come behind all of this turn's, too.
        """
        cdef unsigned int ready = ring_completions_ready(&self.ring), seen = 0, received = 0
        while ring_has_kernel_work(&self.ring):
            while seen < ready:
                received += has_received(ring_completion(&self.ring, seen))
                seen += 1
            if received >= RECEIVED_MAX:
                break
            self.count_enter()
            self.check_entered(ring_do_kernel_work(&self.ring))
            ready = ring_completions_ready(&self.ring)
            if ready == seen:                     # the flag may stay set, see has_come()
                break
        return 0

    @cython.final
    cdef long long spin_first(self, long long timeout_ns) except -2:
        """Look for what would end the wait for a while (sched/spin.pxd); the time left for it."""
        cdef long long began_ns = monotonic_ns(), started_ns, now_ns, until_ns
        cdef bint flagged = False, found
        if 0 < timeout_ns <= self.spin.bound_ns:
            return timeout_ns
        if ring_unsubmitted(&self.ring):
            self.enter(0, 0)
        if self.has_come():
            return 0
        self.spins += 1
        started_ns = now_ns = monotonic_ns()
        until_ns = started_ns + self.spin.bound_ns
        with nogil:
            while not flagged and now_ns < until_ns:
                now_ns = monotonic_ns()           # first: what came while preempted counts
                flagged = self.has_news()
        found = flagged and self.has_come()
        if found or not flagged:
            spin_ended(&self.spin, now_ns - started_ns, found)
        if found:
            return 0
        return max(timeout_ns - (now_ns - began_ns), 0) if timeout_ns > 0 else timeout_ns

    @cython.final
    cdef inline bint has_news(self) noexcept nogil:
        """Whether something may have come that ends a wait."""
        return (ring_completions_ready(&self.ring) != 0 or ring_has_kernel_work(&self.ring)
                or not inbox_empty(self.inbox))

    @cython.final
    cdef bint has_come(self) except -1:
        """Whether something has, once the kernel has done what it has to.

        Its flag alone tells nothing: where it is set after that work was done, on another core,
        it stays until there is more. A loop that took it for news would never sleep.
        """
        if not self.has_news():
            return False
        if ring_has_kernel_work(&self.ring):
            self.enter(0, 0)
        self.turns_unlooked = BUSY_TURNS_MAX      # look at once
        return ring_completions_ready(&self.ring) != 0 or not inbox_empty(self.inbox)

    cdef bint bulk_may_go_on(self) except -1:
        cdef long long now_ns
        if (self.ready == NULL or ready_queue_length(self.ready) or not inbox_empty(self.inbox)
                or not self.all_fill()):
            return False
        now_ns = monotonic_ns()
        if self.draining_receives == 0:
            self.draining_until_ns = now_ns + DRAINING_NS_MAX
        if self.draining_receives == DRAINING_RECEIVES_MAX or now_ns >= self.draining_until_ns:
            self.has_drained = True
            return False
        self.draining_receives += 1
        if ring_unsubmitted(&self.ring) or self.has_news():
            self.flush()
        return self.all_fill()

    @cython.final
    cdef int sleep(self, long long timeout_ns, bint for_batch) except -1:
        """Submit and wait. Returns 1 when a signal ended it, else 0."""
        cdef long long started_ns = monotonic_ns()
        try:
            if for_batch:
                self.batches += 1
                return self.enter(BATCH_COMPLETIONS, timeout_ns, BATCH_US)
            return self.enter(1, timeout_ns)
        finally:
            inbox_withdraw_sleep(self.inbox)
            if not for_batch:                     # that tells nothing of other waits
                spin_slept(&self.spin, monotonic_ns() - started_ns)

    @cython.final
    cdef inline bint batch_is_due(self, long long timeout_ns) noexcept:
        """Whether to sleep until several completions are there, as peers are about to send more.

        Not where something is there already: who has enough to do need not wait for more of it.
        """
        cdef long long now_ns = monotonic_ns() if self.streaming.bytes else 0
        return (streaming_goes_on(&self.streaming, self.writes, self.dispatched, now_ns)
                and ring_can_batch(&self.ring) and not 0 <= timeout_ns <= BATCH_TAKES_NS
                and not self.has_news())
