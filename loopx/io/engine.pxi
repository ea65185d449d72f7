# What a loop asks of its engine: take operations, wait, hand out completions.
# Transports and the loop know this class only; the engine on io_uring is io/ring_engine.pxi, and
# one on readiness can stand beside it. Only the loop's thread may call it, but for `wake`.

cdef enum:
    LONELY_IN_FLIGHT = 6         # operations: a few receives, a listening socket, the self-pipe
    FEW_COMPLETIONS = 24         # in a turn
    FEW_NS = 16000               # while this turn's work is little
    DRAINING_RECEIVES_MAX = 32   # in a dispatch(), and how long they go on. Of 256 KiB each they
    DRAINING_NS_MAX = 5000000    # empty most sockets, through TLS, too, which has 1.8 GB/s


cdef class Engine:
    """Abstract: submit operations, wait for completions, dispatch them."""

    cdef Inbox *inbox                       # the loop's; asked before sleeping
    cdef ReadyQueue *ready                  # dispatch()'s argument; NULL in a forked child
    cdef int draining_receives              # in this dispatch(), by bulk_may_go_on()
    cdef long long draining_until_ns        # once there was one
    cdef bint has_drained                   # as much as it may
    cdef Py_ssize_t bulk_dispatched         # bytes, in this dispatch()
    cdef unsigned long long writes          # pieces that transports were given to send
    cdef Streaming streaming                # whether to wait for several completions
    cdef unsigned long long batches         # how often that was done
    cdef bint running                       # between begin() and suspend()
    cdef unsigned long long system_calls    # for I/O, of all kinds
    cdef unsigned long long enters          # those of them that submit and wait
    cdef unsigned long long submissions
    cdef unsigned long long completions
    cdef unsigned long long collected_ever  # how many dispatch() was, or is, to hand out
    cdef unsigned long long dispatched      # the one being handed out: its number among them
    cdef bint waiting                       # no callback has run since the last sends were started
    cdef Py_ssize_t in_flight               # operations not idle, internal ones left out
    cdef Spin spin                          # when to look for completions before sleeping
    cdef unsigned long long spins           # how often that was done
    cdef long long few_until_ns             # the end of that, 0 where more are to be dispatched
    cdef int turns_unlooked                 # since wait() last looked at what has come

    cdef int begin(self) except -1:
        """The loop starts to run on the calling thread: arm again what was in flight."""
        raise NotImplementedError

    cdef int suspend(self) except -1:
        """The loop stops: take back everything in flight, losing nothing."""
        raise NotImplementedError

    cdef int submit(self, Operation *operation) except -1:
        """Start an idle operation. The kernel learns of it at the next wait().

        A send does not wait for room: its result is what was sent, or -EAGAIN. Who wants to wait
        polls first, which needs no thread of the kernel's. A quiet send that takes everything
        ends no wait: its completion is dispatched after the wait that submitted it, whenever
        that ends. For senders who need not hear of success at once.
        """
        raise NotImplementedError

    cdef int cancel(self, Operation *operation) except -1:
        """Ask for an early end. The terminal completion still comes, cancelled or not."""
        raise NotImplementedError

    cdef int flush(self) except -1:
        """Submit now, without waiting: what was cancelled is cancelled when this returns."""
        raise NotImplementedError

    cdef int flush_sends(self) except -1:
        """As flush(), right after sends were submitted: quiet ones are over, as after wait()."""
        raise NotImplementedError

    cdef int wait(self, long long timeout_ns) except -1:
        """Submit, wait for a completion (negative: for ever; 0: not at all), collect."""
        raise NotImplementedError

    cdef int dispatch(self, ReadyQueue *ready) except -1:
        """Call on_completion for everything collected before this call.

        But no more than some bulk, once that has made something `ready`: it may be what goes on
        with that bulk, which is in the caches yet; and much bulk at most. The rest stays pending.
        NULL: everything.
        """
        raise NotImplementedError

    cdef bint bulk_may_go_on(self) except -1:
        """Whether to take more of this socket's bulk in this dispatch(), up to a bound: nothing is
        ready, and who has something else fills buffers as well. May submit."""
        return False

    cdef int pending_completions(self) noexcept:
        """Whether dispatch() has something to do."""
        return 0

    cdef Py_ssize_t received_bytes(self, Operation *operation, int result,
                                   unsigned int flags) noexcept:
        """How many bytes take_received() would hand out."""
        return 0

    cdef object take_received(self, Operation *operation, int result, unsigned int flags):
        """The bytes of a receive's completion, with those of the ones right behind it."""
        raise NotImplementedError

    cdef Py_ssize_t copy_received(self, Operation *operation, char *target, Py_ssize_t room,
                                  int result, unsigned int flags) noexcept:
        """As take_received(), into `target`: how many bytes; 0 when they are more than `room`."""
        return 0

    cdef void take_back_bytes(self, data) noexcept:
        """What the caller is about to drop may be handed out by take_received again."""
        pass

    cdef int drop_received(self, unsigned int flags) except -1:
        """Give back the buffer of a receive's completion unread."""
        raise NotImplementedError

    cdef int more_receive_buffers(self) except -1:
        """A receive found no buffer: provide more of them, up to a bound."""
        raise NotImplementedError

    cdef void wake(self) noexcept nogil:
        """End a wait. The only method for other threads."""
        pass

    cdef int close(self) except -1:
        """Cancel, wait for the last completion, drop every reference, free the resources."""
        raise NotImplementedError

    cdef void abandon(self) noexcept:
        """In a forked child: forget everything without touching what the parent uses."""
        pass
