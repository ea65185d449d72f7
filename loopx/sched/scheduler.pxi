# The scheduler: what is ready, what is due later, and what other threads sent.
# Its loop's thread alone may touch it, but for call_soon_threadsafe. It knows no I/O: LoopCore
# derives from it and adds the engine. Each pointer in the queue, the heap and the inbox is a
# Handle with one reference counted for that place, but for the calls in the ready queue.

cdef enum:
    SLOTS_KEPT = 1 << 18                      # of a queue's memory, 2 MiB, once it is empty

# Where several timers are due sooner after others, they wait for each other. asyncio's all do, as
# epoll counts milliseconds and the kernel adds 50 us of slack, PR_SET_TIMERSLACK in prctl(2): none
# is later than it would be there.
cdef double TIMERS_APART_SECONDS = 0.00105


@cython.nonecheck(False)
cdef class Scheduler:
    """call_soon, call_later, call_at, call_soon_threadsafe and time, as in asyncio."""

    cdef ReadyQueue ready
    cdef ssize_t slots_besides                # of it, that calls have after their first
    cdef TimersHeap timers
    cdef ReadyQueue due                       # timers that this turn will run
    cdef double timers_ran                    # when some were due last
    cdef Inbox inbox                          # with a GIL for `knock` alone
    cdef InboxNode knock                      # in it when another thread has pushed
    cdef bint has_knocked
    cdef unsigned long long running_thread    # current_thread() while the loop runs, else 0
    cdef unsigned long long owner_thread      # the one that it runs on, or ran, or was made on
    cdef unsigned long long callbacks         # run so far
    cdef bint debug
    cdef bint closed
    cdef readonly bint forked                 # a forked child's copy of its parent's loop
    cdef public double slow_callback_duration   # seconds: what debug mode reports as slow
    cdef object current_handle                # in debug mode, while it runs
    cdef PyObject *spare_context              # for the next handle to run, or NULL: contexts.pxi

    def __cinit__(self):
        self.owner_thread = current_thread()
        ready_queue_init(&self.ready, 64)
        ready_queue_init(&self.due, 16)
        self.slow_callback_duration = 0.1

    def __dealloc__(self):
        self.drop_scheduled()
        ready_queue_free(&self.ready)
        ready_queue_free(&self.due)
        timers_heap_free(&self.timers)
        Py_XDECREF(self.spare_context)

    cdef void drop_scheduled(self) noexcept:
        """Release every callback that waits, as closing a loop does."""
        cdef Timer *timer
        self.take_inbox()
        self.slots_besides = 0
        drop_queued(&self.ready)
        drop_queued(&self.due)
        while True:
            timer = timers_heap_first(&self.timers)
            if timer == NULL:
                break
            timers_heap_remove(&self.timers, timer)
            Py_DECREF(<object>timer.owner)

    # ---- scheduling -----------------------------------------------------------------------

    cdef int check_closed(self) except -1:
        if self.forked:
            raise RuntimeError("this event loop belongs to the process that forked this one; "
                               "make a new loop here")
        if self.closed:
            raise RuntimeError("Event loop is closed")
        return 0

    cdef int check_thread(self) except -1:
        """In debug mode: asyncio's complaint about a call from a thread not the loop's."""
        if self.running_thread and self.running_thread != current_thread():
            raise RuntimeError("Non-thread-safe operation invoked on an event loop other "
                               "than the current one")
        return 0

    cdef inline bint is_elsewhere(self) noexcept:
        """Without a GIL: whether the loop runs on another thread than the caller's."""
        return NO_GIL and self.running_thread != 0 and self.running_thread != current_thread()

    cdef inline bint is_foreign(self) noexcept:
        """Without a GIL: whether this thread has to leave the queues to another, also to one that
        is about to run the loop."""
        return NO_GIL and self.owner_thread != current_thread()

    @cython.final
    cdef inline void before_push(self) noexcept:
        if NO_GIL and not inbox_empty(&self.inbox):
            self.take_inbox()           # came first
        if ready_queue_length(&self.ready):
            newest_to_call(self)

    cdef int push(self, Handle handle) except -1:
        self.before_push()
        if ready_queue_push(&self.ready, <void *>handle) < 0:
            raise MemoryError
        Py_INCREF(handle)
        return 0

    cdef Handle schedule(self, callback, tuple args, context):
        """call_soon for callers in here: no checks."""
        cdef Handle handle = Handle.__new__(Handle)
        handle_init(handle, self, callback, args, context)
        self.push(handle)
        return handle

    def call_soon(self, callback, *args, context=None):
        """Call `callback(*args)` in the next turn; returns a Handle."""
        cdef Handle handle
        if self.closed or self.debug:
            self.check_call(callback, "call_soon")
        if self.is_foreign():
            return self.call_soon_threadsafe(callback, *args, context=context)
        handle = Handle.__new__(Handle)
        handle_init(handle, self, callback, args, context)
        self.push(handle)
        return handle

    cdef int check_call(self, callback, method) except -1:
        self.check_closed()
        if self.debug:
            if method != "call_soon_threadsafe":
                self.check_thread()
            check_callback(callback, method)
        return 0

    def call_soon_threadsafe(self, callback, *args, context=None):
        """call_soon from any thread: wakes the loop when it waits."""
        cdef Handle handle
        if self.closed or self.debug:
            self.check_call(callback, "call_soon_threadsafe")
        handle = new_threadsafe_handle()
        handle_init(handle, self, callback, args, context)
        self.hand_over(handle)
        return handle

    @cython.final
    cdef inline int hand_over(self, Handle handle) except -1:
        """Push; a loop that may be about to sleep hears a knock. Without a GIL: to the inbox."""
        cdef bint is_here = self.running_thread == current_thread()
        cdef InboxNode *node = &self.knock
        if is_here or not NO_GIL:
            self.push(handle)
            if is_here or self.has_knocked:
                return 0
            self.has_knocked = True
        else:
            Py_INCREF(handle)
            node = &(<ThreadSafeHandle>handle).inbox_node
        if inbox_push(&self.inbox, node):
            self.wake_up()
        return 0

    cdef void wake_up(self) noexcept:
        pass

    @cython.final
    cdef inline bint has_due_timer(self) noexcept:
        return self.timers.length != 0 and timers_heap_when(&self.timers) <= monotonic_seconds()

    def call_later(self, delay, callback, *args, context=None):
        """Call `callback(*args)` after `delay` seconds; returns a TimerHandle."""
        if delay is None:
            raise TypeError("delay must not be None")
        return self.add_timer(monotonic_seconds() + <double>delay, callback, args, context,
                              "call_later")

    def call_at(self, when, callback, *args, context=None):
        """Call `callback(*args)` at `when`, in seconds of time(); returns a TimerHandle."""
        if when is None:
            raise TypeError("when cannot be None")
        return self.add_timer(when, callback, args, context, "call_at")

    cdef TimerHandle add_timer(self, double when, callback, args, context, method):
        cdef TimerHandle handle
        if self.closed or self.debug:
            self.check_call(callback, method)
        handle = TimerHandle.__new__(TimerHandle)
        handle_init(handle, self, callback, args, context)
        handle.timer.when = when
        if self.is_foreign():
            self.call_soon_threadsafe(self._start_timer, handle)
        else:
            self.start_timer(handle)
        return handle

    @cython.final
    cdef inline int start_timer(self, TimerHandle handle) except -1:
        if timers_heap_add(&self.timers, &handle.timer) < 0:
            raise MemoryError
        Py_INCREF(handle)
        return 0

    def _start_timer(self, TimerHandle handle not None):
        """A timer that another thread made."""
        if handle._loop is self and handle.timer.place < 0 and not handle.is_cancelled:
            self.check_closed()
            self.start_timer(handle)

    def time(self):
        """Seconds of CLOCK_MONOTONIC, as a float (time.monotonic())."""
        return monotonic_seconds()

    # ---- running --------------------------------------------------------------------------

    cdef void take_inbox(self) noexcept:
        """Move what other threads sent to the ready queue, in the order in which it came."""
        cdef InboxNode *node = inbox_drain(&self.inbox)
        cdef void *handle
        while node != NULL:
            if node == &self.knock:
                self.has_knocked = False
                node = node.next
                continue
            handle = handle_in_inbox(node)
            # Short of memory there is nothing better than to lose the callback aloud.
            if ready_queue_push(&self.ready, handle) < 0:
                fprintf(stderr, "loopx: out of memory: a callback is lost\n")
            node = node.next

    cdef int run_ready(self) except -1:
        """Run what is ready now; what that adds waits for the next turn."""
        if not inbox_empty(&self.inbox):
            self.take_inbox()
        return self.run_queued(&self.ready)

    cdef int run_due(self) except -1:
        """Run the timers that were due when the turn began."""
        return self.run_queued(&self.due)

    cdef int run_queued(self, ReadyQueue *queue) except -1:
        # In slots. Signed, as the newest may have one now and, as a call, three when it runs.
        cdef ssize_t count = <ssize_t>ready_queue_length(queue)
        cdef Handle handle
        cdef void *slot
        while count > 0 and ready_queue_length(queue):       # a callback may close the loop
            slot = ready_queue_oldest(queue)
            count -= 1 + <ssize_t>slots_after(slot)
            if slots_after(slot):
                run_call(self)
                continue
            handle = <Handle>ready_queue_pop(queue)
            Py_DECREF(handle)                 # the queue's reference; `handle` holds its own
            self.run_handle(handle)
            handle = None                     # not while calls run
        if queue.capacity > SLOTS_KEPT and ready_queue_length(queue) == 0:
            ready_queue_free(queue)
        return 0

    cdef inline int run_handle(self, Handle handle) except -1:
        if handle.is_cancelled:
            return 0
        self.callbacks += 1
        if self.debug:
            return self.run_watched(handle)
        return run_any_handle(handle)

    cdef int run_watched(self, Handle handle) except -1:
        """Debug mode: name the callbacks that hold up the loop."""
        cdef double started = monotonic_seconds()
        cdef double seconds
        self.current_handle = handle
        try:
            run_any_handle(handle)
        finally:
            self.current_handle = None
        seconds = monotonic_seconds() - started
        if seconds >= self.slow_callback_duration:
            logger.warning("Executing %s took %.3f seconds", format_handle(handle), seconds)
        return 0

    cdef int take_due_timers(self) except -1:
        """Move the timers that are due to `due`, earliest first."""
        cdef Timer *timer
        cdef double now
        if self.timers.length == 0:
            return 0
        now = monotonic_seconds() + CLOCK_RESOLUTION_SECONDS
        while timers_heap_when(&self.timers) < now:
            self.timers_ran = now
            timer = timers_heap_first(&self.timers)
            if ready_queue_push(&self.due, timer.owner) < 0:
                raise MemoryError
            timers_heap_remove(&self.timers, timer)     # the heap's reference moves along
        return 0

    cdef long long timeout_ns(self) noexcept:
        """How long the loop may wait: 0 not at all, -1 for ever.

        Timers that follow others closely share a wake-up, which costs more than they do; one that
        is alone is on time.
        """
        cdef double when, now, together, seconds
        if (ready_queue_length(&self.ready) or ready_queue_length(&self.due)
                or not inbox_empty(&self.inbox)):
            return 0
        if self.timers.length == 0:
            return -1
        when = timers_heap_when(&self.timers)
        now = monotonic_seconds()
        if when <= now:
            return 0
        together = self.timers_ran + TIMERS_APART_SECONDS
        seconds = (together if timers_heap_has_two_before(&self.timers, together)
                   else when) - now
        return <long long>(min(seconds, WAIT_SECONDS_MAX) * 1e9) + 1


cdef void drop_queued(ReadyQueue *queue) noexcept:
    while ready_queue_length(queue):
        Py_DECREF(<object>without_bits(ready_queue_pop(queue)))


def check_callback(callback, method):
    """Debug mode's complaint about what cannot be called back (asyncio's wording)."""
    if iscoroutine(callback) or iscoroutinefunction(callback):
        raise TypeError(f"coroutines cannot be used with {method}()")
    if not callable(callback):
        raise TypeError(f"a callable object was expected by {method}(), got {callback!r}")


def format_handle(handle):
    """A handle in debug mode's report: a task's step is shown as the task."""
    owner = getattr(handle._callback, "__self__", None)
    return repr(owner) if isinstance(owner, Task) else str(handle)
