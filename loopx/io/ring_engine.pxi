# The engine on io_uring: one ring, made when something is first submitted or waited for.
# The ring belongs to the thread that made it (SINGLE_ISSUER); begin() makes a new one when the
# loop comes up on another thread. suspend() has emptied the old one by then, because the kernel
# cancels what a thread submitted when that thread ends, and nobody else may enter its ring.

cdef enum:
    RING_ENTRIES = 256
    COMPLETION_ENTRIES = 1024    # with the buffers' ring under 64 KiB of locked memory
    SUBMIT_ATTEMPTS = 4
    COLLECT_ROUNDS = 64          # how often completions are read before they are acted upon
    KERNEL_WORK_MAX = 20         # that one call which does not sleep makes (Linux 6.13)
    TAKE_BACK_TIMEOUT_NS = 10000000

@cython.nonecheck(False)
@cython.final
cdef class RingEngine(PollingEngine):
    """Completions by io_uring. See Engine for what each method promises."""

    cdef object control                   # ring.control.RingControl; None until needed
    cdef unsigned long long thread        # that made the ring
    cdef int wake_fd                      # an eventfd; -1 until the ring is made, and once closed
    cdef int wakers                       # threads in wake()
    cdef Operation wake_operation         # watches wake_fd; never read, each write completes it
    cdef OperationList quiet              # quiet sends since the last submission
    cdef bint quiet_are_old               # some of them are of an earlier wait
    cdef list collected_owners            # of completions, while the loop does not run; in lists
    #                                       so that the garbage collector sees them
    cdef Py_ssize_t held_by_kernel        # started, terminal completion not yet collected
    cdef list foreign_cancels             # (owner, address) of what other threads cancelled
    cdef bint buffers_refused             # for want of locked memory, by the ring there is
    cdef bint suspending
    cdef bint abandoned                   # this is a forked child's copy
    cdef bint closed

    def __cinit__(self):
        self.wake_fd = -1
        self.collected_owners = []
        operation_init(&self.wake_operation, self, watch_wakes_again, -1)
        self.wake_operation.internal = True
        self.wake_operation.kind = POLL_MULTISHOT
        self.wake_operation.events = POLLIN

    def __dealloc__(self):
        self.free_resources()

    cdef void free_resources(self) noexcept:
        cdef int wake_fd = loopx_exchange_int(&self.wake_fd, -1)
        # Without a GIL a thread may be about to write to it, when it is another file's already.
        while loopx_load_int(&self.wakers):
            sched_yield()
        if wake_fd >= 0:
            posix_close(wake_fd)
        operation_list_free(&self.quiet)
        operation_list_free(&self.queued)
        self.free_collected()

    # ---- the ring -------------------------------------------------------------------------

    cdef int need_ring(self) except -1:
        if self.control is not None:
            return 0
        if self.abandoned:
            raise RuntimeError("the ring belongs to the process that forked this one")
        if self.wake_fd < 0:
            self.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
            if self.wake_fd < 0:
                raise explain(errno)
        control = RingControl(RING_ENTRIES, COMPLETION_ENTRIES)
        ring_attach(&self.ring, <io_uring *><size_t>control.address, control.enter_fd,
                    control.enter_flags)
        self.control = control
        self.thread = current_thread()
        self.wake_operation.fd = self.wake_fd
        self.wake_operation.state = OPERATION_IDLE
        return self.start(&self.wake_operation)

    cdef int drop_ring(self) except -1:
        """Everything counted has been taken back: only internal operations are in the ring."""
        control, self.control = self.control, None
        self.buffers.ring = NULL
        self.buffers.recycled = 0
        self.buffers_refused = False
        if control is not None:
            control.close()
        return 0

    cdef int need_buffers(self) except -1:
        """Register the ring of provided buffers with this ring and hand it every free one.

        Returns 0 where it is refused, mostly as no memory may be locked for it. That is not asked
        again of this ring: each time the answer takes as long as the patience with late memory.
        """
        if self.buffers.ring == NULL and not self.buffers_refused:
            try:
                self.buffers.ring = <io_uring_buf_ring *><size_t>self.control.register_buffer_ring(
                    BUFFERS_MAX, BUFFER_GROUP)
            except (EngineUnavailable, OSError):
                self.buffers_refused = True
                return 0
            self.provide_buffers()
        return self.buffers.ring != NULL

    # ---- submitting -----------------------------------------------------------------------

    cdef io_uring_sqe *next_submission(self) except NULL:
        cdef io_uring_sqe *sqe = ring_next_submission(&self.ring)
        cdef int attempt
        for attempt in range(SUBMIT_ATTEMPTS):
            if sqe != NULL:
                return sqe
            self.enter(0, 0)
            self.collect()
            sqe = ring_next_submission(&self.ring)
        if sqe == NULL:
            raise OSError(EBUSY, "io_uring takes no more submissions; the kernel is short of "
                                 "memory or completions are not drained")
        return sqe

    cdef int start(self, Operation *operation) except -1:
        """Write the submission entry of an operation that is idle or was queued."""
        cdef io_uring_sqe *sqe
        self.need_ring()
        if operation.kind == RECEIVE_MULTISHOT and not self.need_buffers():
            return self.refuse(operation)
        if operation.kind == SEND_QUIETLY:
            # Nothing may fail once the entry is taken: the kernel would get it all the same.
            operation_list_reserve(&self.quiet)
        sqe = self.next_submission()
        fill_entry(sqe, operation)
        if operation.kind == SEND_QUIETLY:
            operation_list_add(&self.quiet, operation)
        operation.state = OPERATION_SUBMITTED
        self.submissions += 1
        self.held_by_kernel += not operation.internal
        return 0

    cdef int refuse(self, Operation *operation) except -1:
        """Have the operation end with ENOMEM, as if the kernel had said so."""
        operation.state = OPERATION_SUBMITTED
        self.completions += 1
        return self.keep_collected(operation, -ENOMEM, 0)

    cdef int submit(self, Operation *operation) except -1:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        if self.abandoned:
            self.need_ring()
        if self.running and self.thread_is_ours():
            self.start(operation)
            lend_to_kernel(operation)
        else:
            self.queue(operation)
            if self.running:
                self.wake()
        if not operation.internal:
            self.in_flight += 1
        return 0

    cdef inline bint thread_is_ours(self) noexcept:
        return self.thread == current_thread()

    cdef int start_queued(self) except -1:
        """Submit what was queued while the loop did not run, or by another thread.

        When one cannot be started (no descriptor left for a ring) it and the rest stay queued.
        """
        cdef size_t started = 0
        cdef Operation *operation
        try:
            while started < self.queued.length:
                operation = self.queued.items[started]
                if operation.state == OPERATION_CANCELLING:
                    self.held_by_kernel += not operation.internal
                    self.collect_one(operation, -ECANCELED, 0)
                elif (operation.descriptor_is_ours != NULL
                        and not operation.descriptor_is_ours(operation)):
                    self.held_by_kernel += not operation.internal
                    self.collect_one(operation, -EBADF, 0)
                else:
                    self.start(operation)
                lend_to_kernel(operation)
                started += 1
        finally:
            operation_list_drop_first(&self.queued, started)
            del self.queued_owners[:started]
        return 0

    cdef int cancel(self, Operation *operation) except -1:
        cdef io_uring_sqe *sqe
        if operation.state == OPERATION_QUEUED:
            operation.state = OPERATION_CANCELLING
            if self.running and not self.thread_is_ours():
                self.wake()
        elif operation.state == OPERATION_SUBMITTED and self.control is not None:
            if not self.thread_is_ours():
                return self.cancel_from_elsewhere(operation)
            sqe = self.next_submission()
            sqe.opcode = IORING_OP_ASYNC_CANCEL
            sqe.flags = IOSQE_CQE_SKIP_SUCCESS
            sqe.fd = -1
            sqe.addr = <uint64_t><size_t>operation
            operation.state = OPERATION_CANCELLING
            self.submissions += 1
        return 0

    cdef int cancel_from_elsewhere(self, Operation *operation) except -1:
        """A caller's mistake (another thread closed a transport), put right by the loop."""
        if self.foreign_cancels is None:
            self.foreign_cancels = []
        self.foreign_cancels.append((<object>operation.owner, <size_t>operation))
        self.wake()
        return 0

    cdef int cancel_for_others(self) except -1:
        cancels, self.foreign_cancels = self.foreign_cancels, None
        for _owner, address in cancels:
            self.cancel(<Operation *><size_t>address)
        return 0

    # ---- waiting --------------------------------------------------------------------------

    cdef int flush(self) except -1:
        if self.running and self.thread_is_ours() and self.control is not None:
            self.enter(0, 0)
            self.collect()
        return 0

    cdef int flush_sends(self) except -1:
        if self.running and self.thread_is_ours():
            self.enter(0, 0)
            self.collect_waited()
        return 0

    cdef int wait(self, long long timeout_ns) except -1:
        cdef int interrupted = 0, for_batch = 0
        if self.queued.length:
            self.start_queued()
        if self.foreign_cancels is not None:
            self.cancel_for_others()
        if self.satisfied:
            self.end_satisfied()
        if self.collected_head != self.collected_tail or self.queued.length:
            timeout_ns = 0
        self.rewind_collected()
        if self.control is None:
            if timeout_ns == 0:
                if self.abandoned:
                    self.need_ring()
                return 0
            self.need_ring()
        if timeout_ns != 0:
            for_batch = self.batch_is_due(timeout_ns)
            if not for_batch and spin_is_due(&self.spin, self.in_flight <= LONELY_IN_FLIGHT):
                timeout_ns = self.spin_first(timeout_ns)
        if timeout_ns != 0 and (ring_completions_ready(&self.ring)
                                or not inbox_announce_sleep(self.inbox)):
            timeout_ns = 0
        if (timeout_ns == 0 and ring_unsubmitted(&self.ring) == 0
                and self.turns_unlooked < BUSY_TURNS_MAX):
            self.turns_unlooked += 1
            return 0
        self.turns_unlooked = 0
        if timeout_ns != 0:
            interrupted = self.sleep(timeout_ns, for_batch)
        elif ring_unsubmitted(&self.ring) or ring_has_kernel_work(&self.ring):
            self.enter(0, 0)
        self.collect_waited()
        self.few_until_ns = (monotonic_ns() + FEW_NS
                             if self.collected_tail - self.collected_head <= FEW_COMPLETIONS else 0)
        if interrupted:
            PyErr_CheckSignals()       # Python's handlers run here, as after any EINTR
        return 0

    cdef int collect_waited(self) except -1:
        """collect(), where no callback has run since the sends were started."""
        self.waiting = True
        try:
            return self.collect()
        finally:
            self.waiting = False

    cdef int collect(self) except -1:
        """Copy completions out of the ring, so that dispatching may submit and even suspend.

        Those that one call had to leave in the kernel are gone back for: who is served now may
        be ready again at the next submission, and would be before them, turn after turn. That
        is so of polls; of received data more is not collected than the caches hold.
        """
        cdef unsigned int index, count, received = 0
        cdef io_uring_cqe *cqe
        cdef int attempt
        for attempt in range(COLLECT_ROUNDS):
            count = ring_completions_ready(&self.ring)
            for index in range(count):
                cqe = ring_completion(&self.ring, index)
                if cqe.user_data:
                    self.collect_one(<Operation *><size_t>cqe.user_data, cqe.res, cqe.flags)
                received += has_received(cqe)
            ring_consume(&self.ring, count)
            if received >= RECEIVED_MAX or not (
                    ring_has_overflowed(&self.ring)
                    or count >= KERNEL_WORK_MAX and ring_has_kernel_work(&self.ring)):
                break
            self.enter(0, 0)
        if self.quiet.length:
            self.settle_quiet_sends()
        return 0

    cdef int settle_quiet_sends(self) except -1:
        """What was submitted and left no completion took everything."""
        cdef size_t count = self.quiet.length, done = 0
        cdef Operation *operation
        cdef bint at_once
        if ring_unsubmitted(&self.ring) or ring_has_overflowed(&self.ring):
            # Some may not have run, or their failure not have been told, yet. Those that were
            # heard of may go away until the next time: forget them now.
            operation_list_keep(&self.quiet, SEND_QUIETLY)
            self.quiet_are_old = True
            return 0
        at_once = self.waiting and not self.quiet_are_old
        self.quiet.length = 0
        try:
            while done < count:
                operation = self.quiet.items[done]
                done += 1
                if operation.kind != SEND_QUIETLY:
                    continue
                if at_once and Py_REFCNT(<object>operation.owner) > 1:
                    # Nothing can have come to depend on it, so no callback is due, and what this
                    # wait received meets a sender that is idle.
                    self.completions += 1
                    self.held_by_kernel -= 1
                    operation.kind = SEND
                    self.finish(operation, operation.length, 0)
                else:
                    self.collect_one(operation, operation.length, 0)
        finally:
            self.quiet.length = count    # a callback raised, due for what another thread wrote
            operation_list_drop_first(&self.quiet, done)
            operation_list_keep(&self.quiet, SEND_QUIETLY)
            self.quiet_are_old = done < count
        return 0

    cdef int collect_one(self, Operation *operation, int result, unsigned int flags) except -1:
        cdef bint is_last = not flags & IORING_CQE_F_MORE
        self.completions += 1
        self.held_by_kernel -= is_last and not operation.internal
        if operation.kind <= POLL_ON and self.passes_over(operation, &result, is_last):
            return 0
        if is_last and operation.kind == SEND_QUIETLY:
            operation.kind = SEND               # heard of: not to be settled again
        if (self.suspending and result == -ECANCELED and is_last
                and operation.state == OPERATION_SUBMITTED):
            operation.state = OPERATION_IDLE
            if not operation.internal:
                self.queue(operation)
                reclaim(operation)
            return 0
        return self.keep_collected(operation, result, flags)

    cdef void wake(self) noexcept nogil:
        cdef unsigned long long one = 1
        cdef int wake_fd
        loopx_add_int(&self.wakers, 1)
        wake_fd = loopx_load_int(&self.wake_fd)
        if wake_fd >= 0:
            posix_write(wake_fd, &one, sizeof(one))
        loopx_add_int(&self.wakers, -1)

    # ---- the loop's life ------------------------------------------------------------------

    cdef int begin(self) except -1:
        cdef size_t index
        if self.control is not None and not self.thread_is_ours():
            self.drop_ring()
        self.thread = current_thread()
        self.running = True
        for index in range(self.collected_head, self.collected_tail):
            if not self.collected[index].flags & IORING_CQE_F_MORE:
                lend_to_kernel(self.collected[index].operation)
        self.collected_owners = []
        if self.control is not None and self.wake_operation.state == OPERATION_IDLE:
            self.start(&self.wake_operation)
        return self.start_queued()

    cdef int suspend(self) except -1:
        cdef size_t index
        try:
            if self.held_by_kernel:
                self.suspending = True
                self.take_back_everything()
            for index in range(self.collected_head, self.collected_tail):
                if not self.collected[index].flags & IORING_CQE_F_MORE:
                    self.collected_owners.append(<object>self.collected[index].operation.owner)
                    reclaim(self.collected[index].operation)
        finally:
            self.suspending = False
            self.running = False
        return 0

    cdef int take_back_everything(self) except -1:
        """Cancel all that the kernel holds; each operation ends in `queued` or `collected`.

        Asked again until nothing is left: an operation may have been on its way to one of the
        kernel's worker threads when it was asked for the first time.
        """
        cdef io_uring_sqe *sqe
        while self.held_by_kernel:
            sqe = self.next_submission()
            sqe.opcode = IORING_OP_ASYNC_CANCEL
            sqe.fd = -1
            sqe.cancel_flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL
            self.submissions += 1
            self.enter(1, TAKE_BACK_TIMEOUT_NS)
            self.collect()
        return 0

    cdef int close(self) except -1:
        cdef size_t index
        if self.closed:
            return 0
        self.closed = True
        for index in range(self.queued.length):
            self.queued.items[index].state = OPERATION_IDLE
        for index in range(self.collected_head, self.collected_tail):
            if not self.collected[index].flags & IORING_CQE_F_MORE:
                self.collected[index].operation.state = OPERATION_IDLE
        self.in_flight = 0
        self.drop_ring()
        self.free_resources()
        # Last: owners may go away, and look at what is left.
        self.queued_owners, self.satisfied, self.collected_owners = [], [], []
        return 0

    cdef void abandon(self) noexcept:
        self.abandoned = True
        self.ready = NULL
        self.wakers = 0                  # those threads stayed with the parent
        self.collected_head = self.collected_tail      # also for a dispatch that is going on
        self.queued.length = self.quiet.length = 0
        self.held_by_kernel = self.in_flight = 0
        self.buffers.ring = NULL
        self.buffers.recycled = 0
        control, self.control = self.control, None
        if control is not None:
            control.abandon()


cdef int watch_wakes_again(Operation *operation, int result, unsigned int flags) except -1:
    """A multishot poll ends by itself when completions overflow: a lost wake-up if left so."""
    cdef RingEngine engine = <RingEngine>operation.owner
    if operation.state == OPERATION_IDLE and engine.running:
        engine.start(operation)
    return 0
