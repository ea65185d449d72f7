# The loop's native face: the turn, running and stopping, tasks and futures, and what the Python
# modules build on. Only the loop's thread may touch it, but for call_soon_threadsafe.
#
# A turn: 1. hand the last turn's sends to the engine, which submits everything and waits in one
# system call (in two where it looks before it sleeps), or makes none when there is nothing to
# submit and something to run; 2. run what was ready when the turn began; 3. dispatch the
# completions; 4. run the timers that were due. What any of these schedules waits for the next turn.
# This is asyncio's order. (Where no timer is due, what bulk made ready may run before the rest of
# the completions.)

cdef class LoopCore(SocketCalls):
    """What is native of loopx.Loop. Subclasses add the methods that run per connection."""

    cdef object task_factory
    cdef SignalPipe signal_pipe
    cdef bint wakeup_armed            # _wakeup_begin() was called in this run
    cdef object __weakref__

    def __cinit__(self):
        self.closed = True                # until __init__ is through

    def __init__(self):
        if self.engine is not None:
            raise RuntimeError("this event loop is made already")
        ensure_available()
        quicken_all_tasks()
        self.engine = RingEngine()
        self.engine.inbox = &self.inbox
        spin_init(&self.engine.spin, <long long>(SPIN_US * 1e3))
        self.debug = debug_mode_by_default()
        live_loops.add(self)
        self.closed = False

    # ---- running --------------------------------------------------------------------------

    def _run(self):
        """Take turns on this thread until stop() (see run_forever)."""
        self.running_thread = self.owner_thread = current_thread()
        try:
            self.loop_keyword = {"loop": self}
            self.engine.begin()
            self.turn()
            while not self.stopping:
                self.turn()
        finally:
            self.stopping = False
            try:
                if not self.forked:
                    self.submit_last_writes()
            finally:
                self.stop_running()

    cdef int stop_running(self) except -1:
        """Undo what running did; nothing of it may be left out, whatever a handler raises."""
        self.running_thread = 0
        self.loop_keyword = None
        try:
            if self.wakeup_armed:
                self.wakeup_armed = False
                self._wakeup_end()
        finally:
            self.engine.suspend()
        return 0

    @cython.nonecheck(False)
    cdef int turn(self) except -1:
        cdef long long timeout_ns
        self.turns += 1
        if self.unsent:
            self.send_unsent()
        timeout_ns = 0 if self.stopping or self.unsent else self.timeout_ns()
        if timeout_ns != 0 and not self.wakeup_armed:
            self.wakeup_armed = True
            self._wakeup_begin()
            timeout_ns = self.timeout_ns()       # a signal's handler may have run meanwhile
        self.engine.wait(timeout_ns)
        self.take_due_timers()
        if ready_queue_length(&self.due) and self.engine.turns_unlooked:
            self.engine.wait(0)                  # what has come goes before timers
        self.run_ready()
        if self.engine.pending_completions():
            self.engine.dispatch(NULL if ready_queue_length(&self.due) else &self.ready)
        if ready_queue_length(&self.due):
            self.run_due()
        return 0

    cdef int submit_last_writes(self) except -1:
        """What was written in the last turn still leaves, as it does with asyncio."""
        if self.unsent:
            self.send_unsent()
            self.engine.wait(0)
        return 0

    def _wakeup_begin(self):
        """Called before the first wait of a run: signals must end it. Overridden."""

    def _wakeup_end(self):
        """Called after a run in which _wakeup_begin() was called. Overridden."""

    def stop(self):
        """Return from run_forever at the end of this turn.

        It wakes nobody: another thread uses call_soon_threadsafe(loop.stop). Nor does debug mode
        complain, as it does not in asyncio; so with whatever only stores or reads a setting.
        """
        self.stopping = True

    def is_running(self):
        """Whether a thread is in run_forever."""
        return self.running_thread != 0

    def is_closed(self):
        """Whether close() was called."""
        return self.closed

    def close(self):
        """Free everything; RuntimeError while running. Idempotent."""
        if self.running_thread:
            raise RuntimeError("Cannot close a running event loop")
        if self.closed:
            return
        self._on_close()
        self.closed = True
        live_loops.discard(self)
        self.drop_scheduled()
        stop_all(self.readers)
        stop_all(self.writers)
        transports = self.transports()        # in flight, some are nobody else's
        self.engine.close()
        self.free_datagram_space()
        bulk_space_free(&self.bulk_space)
        pipe, self.signal_pipe = self.signal_pipe, None
        if pipe is not None:
            (<SignalPipe>pipe).close()
        for transport in transports:          # some only waited for the kernel to let go
            (<SendingTransport>transport).close_descriptor_when_idle()

    def _on_close(self):
        """Called once by close(), before the engine is gone. Overridden."""

    cdef int abandon(self) except -1:
        """In a forked child: this loop is the parent's."""
        self.forked = self.closed = True
        self.running_thread = 0
        self.engine.abandon()
        return 0

    # ---- checks, debug mode ---------------------------------------------------------------

    def _check_closed(self):
        self.check_closed()

    def get_debug(self):
        """Whether debug mode is on."""
        return self.debug

    def set_debug(self, enabled):
        """Turn debug mode on or off: slow callbacks, wrong threads, where handles were made."""
        self.debug = enabled

    @property
    def _current_handle(self):
        return self.current_handle

    # ---- tasks and futures ----------------------------------------------------------------

    def create_future(self):
        """An asyncio.Future of this loop."""
        return self.new_future()

    def create_task(self, coro, *, name=None, context=None, **options):
        """Schedule a coroutine as an asyncio.Task (or what the task factory makes)."""
        self.check_closed()
        if self.task_factory is not None:
            return self.factory_task(coro, name, context, options)
        # Looked up each time, as asyncio does: programs replace it.
        maker = tasks_module["Task"]
        if context is None and not options:
            if name is None and maker is native_task:
                return PyObject_Call(maker, (coro,), self.find_loop_keyword())
            return call_with_two_names(maker, coro, self, name, TASK_KEYWORDS)
        if context is not None:
            options["context"] = context
        return maker(coro, loop=self, name=name, **options)

    cdef object factory_task(self, coro, name, context, dict options):
        if context is not None:
            options["context"] = context
        if name is not None and TASK_FACTORY_TAKES_NAME:
            options["name"] = name
        task = self.task_factory(self, coro, **options)
        if name is not None and not TASK_FACTORY_TAKES_NAME:
            set_name = getattr(task, "set_name", None)
            if set_name is not None:
                set_name(name)
        return task

    def set_task_factory(self, factory):
        """`factory(loop, coro, **kwargs)` makes tasks from now on; None: asyncio.Task."""
        if factory is not None and not callable(factory):
            raise TypeError("task factory must be a callable or None")
        self.task_factory = factory

    def get_task_factory(self):
        """The task factory, or None."""
        return self.task_factory

    # ---- what the Python modules build on -------------------------------------------------

    cdef inline int check_caller(self) except -1:
        if self.debug or self.is_elsewhere():
            self.check_thread()
        return 0

    def add_reader(self, fd, callback, *args):
        """Call `callback(*args)` whenever `fd` can be read."""
        self.check_caller()
        add_watch(self, self.readers, fd, POLLIN, callback, args)

    def add_writer(self, fd, callback, *args):
        """Call `callback(*args)` whenever `fd` can be written."""
        self.check_caller()
        add_watch(self, self.writers, fd, POLLOUT, callback, args)

    def remove_reader(self, fd):
        """Undo add_reader; True when there was something to undo."""
        return self.remove_watch(self.readers, fd)

    def remove_writer(self, fd):
        """Undo add_writer; True when there was something to undo."""
        return self.remove_watch(self.writers, fd)

    cdef object remove_watch(self, dict watches, file):
        cdef int fd = descriptor_of(file)
        self.check_caller()
        self.check_not_owned(fd)
        if self.closed:
            return False
        return bool(stop_watch(watches, fd))

    def _check_not_owned(self, int fd):
        self.check_not_owned(fd)

    def _make_stream_transport(self, sock, protocol, waiter=None, server=None):
        cdef StreamTransport transport
        context = PyContext_CopyCurrent()
        self.check_closed()
        protocol.connection_made              # AttributeError for what is no protocol
        if sock.family in (AF_INET, AF_INET6):
            set_nodelay(sock.fileno())
        transport = make_stream_transport(self, sock.fileno(), sock, protocol, context, server)
        transport.is_local = sock.family == AF_UNIX
        transport.peername = remote_address(transport.fd)
        self.schedule(transport._connected, (waiter,), context)
        return transport

    def _make_read_pipe_transport(self, pipe, protocol, waiter=None, extra=None):
        return make_read_pipe_transport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(self, pipe, protocol, waiter=None, extra=None):
        return make_write_pipe_transport(self, pipe, protocol, waiter, extra)

    def _make_datagram_transport(self, sock, protocol, address=None, waiter=None):
        cdef DatagramTransport transport
        context = PyContext_CopyCurrent()
        self.check_closed()
        protocol.connection_made              # AttributeError for what is no protocol
        transport = make_datagram_transport(self, sock, protocol, address, context)
        self.schedule(transport._connected, (waiter,), context)
        return transport

    def _wait_readable(self, int fd):
        return wait_for_descriptor(self, fd, POLLIN)

    def _wait_writable(self, int fd):
        return wait_for_descriptor(self, fd, POLLOUT)

    def _signal_wakeup_fd(self):
        """The writing end of the self-pipe, for signal.set_wakeup_fd."""
        cdef SignalPipe pipe
        if self.signal_pipe is None:
            self.check_closed()
            pipe = SignalPipe.__new__(SignalPipe)
            pipe.start(self)
            self.signal_pipe = pipe
        return self.signal_pipe.writer.fileno()

    def stats(self):
        """Counts since the loop was made: a dict.

        `system_calls` are those that the native code makes for I/O: `enters`
        (io_uring_enter(2)), and the calls to accept, receive and send that it makes itself, of
        sock_recv, sock_recv_into and sock_sendall too. `spins` are the waits that began with a
        look for I/O (spin_us) that found nothing at once, `batches` those that went on for some
        100 us for more of what several peers stream. Not counted: the calls of sockets.py and
        sendfile.py (the other sock_* methods, sendfile(2)), opening and closing, wake-ups from
        other threads, and the self-pipe.
        """
        return {
            "turns": self.turns,
            "callbacks": self.callbacks,
            "submissions": self.engine.submissions,
            "system_calls": self.engine.system_calls,
            "enters": self.engine.enters,                   # io_uring_enter among them
            "completions": self.engine.completions,
            "spins": self.engine.spins,
            "batches": self.engine.batches,
            # Those of users: the loop's own watch of its self-pipe is not one.
            "operations_in_flight": self.engine.in_flight - (self.signal_pipe is not None
                                                             and self.engine.in_flight > 0),
            "ready": <ssize_t>ready_queue_length(&self.ready) - self.slots_besides,
            "timers": self.timers.length,
        }


# The collector's own types: what they return is no exception.
ctypedef int (*Visit)(PyObject *item, void *argument) noexcept
ctypedef int (*Traverse)(PyObject *self, Visit visit, void *argument) noexcept
ctypedef int (*Clear)(PyObject *self) noexcept


cdef int traverse_loop(PyObject *self, Visit visit, void *argument) noexcept:
    """tp_traverse of LoopCore: also what stands in the C structures, or a loop that nobody
    closed would never be collected, because handles refer to their loop. It may not count
    references, so no variable here is an object."""
    cdef TimersHeap *timers = &(<LoopCore>self).timers
    cdef InboxNode *node = (<LoopCore>self).inbox.newest
    cdef ssize_t place
    cdef int result = generated_traverse(self, visit, argument)
    if not result:
        result = visit_queued(&(<LoopCore>self).ready, visit, argument)
    if not result:
        result = visit_queued(&(<LoopCore>self).due, visit, argument)
    for place in range(timers.length):
        if result:
            return result
        result = visit(<PyObject *>timers.places[place].timer.owner, argument)
    while node != NULL and not result:
        if node != &(<LoopCore>self).knock:
            result = visit(<PyObject *>handle_in_inbox(node), argument)
        node = node.next
    return result


cdef int visit_queued(ReadyQueue *queue, Visit visit, void *argument) noexcept:
    cdef size_t index
    cdef int result = 0
    cdef void *slot
    for index in range(queue.head, queue.tail):
        slot = queue.slots[index & (queue.capacity - 1)]
        if slots_after(slot):
            result = visit_of_call(without_bits(slot), <visitproc>visit, argument)
        else:
            result = visit(<PyObject *>slot, argument)
        if result:
            break
    return result


cdef int clear_loop(PyObject *self) noexcept:
    (<LoopCore>self).drop_scheduled()
    return generated_clear(self)


cdef Traverse generated_traverse = <Traverse>(<PyTypeObject *>LoopCore).tp_traverse
cdef Clear generated_clear = <Clear>(<PyTypeObject *>LoopCore).tp_clear
(<PyTypeObject *>LoopCore).tp_traverse = <traverseproc>traverse_loop
(<PyTypeObject *>LoopCore).tp_clear = <inquiry>clear_loop


cdef int stop_all(dict watches) except -1:
    for watch in watches.values():
        (<DescriptorWatch>watch).stop()
    watches.clear()
    return 0


cdef bint debug_mode_by_default() except -1:
    """-X dev, or PYTHONASYNCIODEBUG in an environment that is not ignored."""
    if sys.flags.dev_mode:
        return True
    return not sys.flags.ignore_environment and bool(os.environ.get("PYTHONASYNCIODEBUG"))


cdef object native_task = tasks_module.get("_CTask", ())      # (): written in Python here
cdef tuple TASK_KEYWORDS = ("loop", "name")
cdef bint TASK_FACTORY_TAKES_NAME = sys.version_info >= (3, 13, 3)
cdef object live_loops = weakref.WeakSet()


def abandon_loops_after_fork():
    """In a forked child: no loop of the parent may touch the parent's rings."""
    global callback_over
    callback_over = threading.Condition()        # a thread that stayed behind may hold the lock
    for loop in list(live_loops):
        (<LoopCore>loop).abandon()


os.register_at_fork(after_in_child=abandon_loops_after_fork)
