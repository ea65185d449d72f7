# The loop as operations and transports see it: a scheduler with an engine, the transports that
# have something to send this turn, and which transport owns which descriptor.
# Only the loop's thread may touch it.

cdef enum:
    # More than the longest datagram that a kernel queues (a Unix socket's: 4 MiB and 17 pages).
    # Pages are taken when first written to, so what is larger than what came costs nothing.
    DATAGRAM_SPACE_BYTES = 8 << 20


cdef double SPIN_US_MAX = 1000

cdef double checked_spin_us(us, name) except -1:
    try:
        if 0 <= float(us) <= SPIN_US_MAX:
            return float(us)
    except ValueError:
        pass
    raise ValueError(f"{name} must be from 0 (never) to {SPIN_US_MAX:.0f} microseconds, got {us!r}")

# What a loop begins with. On one core, whoever is waited for cannot run meanwhile.
cdef double SPIN_US = checked_spin_us(
    os.environ.get("LOOPX_SPIN_US") or (60 if get_nprocs() > 1 else 0), "LOOPX_SPIN_US")


cdef class BaseLoop(Scheduler):
    """Scheduler plus engine."""

    cdef Engine engine
    cdef unsigned long long turns    # taken so far
    cdef bint stopping               # stop() was called: this turn is the last
    cdef list unsent                 # transports that were written to since the last submission
    cdef Py_ssize_t batch_bytes      # of theirs, about
    cdef PyObject **owners           # by descriptor: the transport that uses it, borrowed
    cdef int owners_length
    cdef char *datagram_space        # what datagrams are received into; NULL until needed
    cdef PyObject *receive_space     # bytes that sock_recv fills next; NULL or nobody else's
    cdef BulkSpace bulk_space        # what bulk is received into next
    cdef int pipes_enlarged          # by transports that are not closed
    cdef dict loop_keyword           # {"loop": self} while it runs, else None
    cdef dict readers                # descriptor: DescriptorWatch (add_reader)
    cdef dict writers                # descriptor: DescriptorWatch (add_writer)

    def __cinit__(self):
        self.unsent = []
        self.readers = {}
        self.writers = {}

    def __dealloc__(self):
        free(self.owners)
        self.free_datagram_space()
        Py_XDECREF(self.receive_space)
        bulk_space_free(&self.bulk_space)

    @property
    def spin_us(self):
        """Microseconds for which the loop may look for I/O before it sleeps; 0: never.

        Only after several waits that were that short, where sleeping takes longer and costs as
        much (see loopx/sched/spin.pxd); a third of it with more than a few connections.
        LOOPX_SPIN_US in the environment sets what a loop begins with, 60 otherwise; 0 on one core.
        """
        return self.engine.spin.limit_ns / 1e3

    @spin_us.setter
    def spin_us(self, us):
        spin_init(&self.engine.spin, <long long>(checked_spin_us(us, "spin_us") * 1e3))

    cdef dict find_loop_keyword(self):
        """What tasks and futures are made with. A type that is called with names wants them in a
        dictionary: while the loop runs there is one, so that none is made for each call."""
        if self.loop_keyword is None or self.is_foreign():
            return {"loop": self}
        return self.loop_keyword

    cdef object new_future(self):
        return PyObject_Call(Future, (), self.find_loop_keyword())

    cdef char *need_datagram_space(self) except NULL:
        cdef void *space
        if self.datagram_space == NULL:
            space = mmap(NULL, DATAGRAM_SPACE_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
            if space == MAP_FAILED:
                raise MemoryError
            self.datagram_space = <char *>space
        return self.datagram_space

    cdef void free_datagram_space(self) noexcept:
        if self.datagram_space != NULL:
            munmap(self.datagram_space, DATAGRAM_SPACE_BYTES)
            self.datagram_space = NULL

    cdef void wake_up(self) noexcept:
        if self.engine is not None:
            self.engine.wake()

    cdef int own_descriptor(self, int fd, object transport) except -1:
        """Note that a transport uses the descriptor, so that nobody else watches it."""
        cdef PyObject **owners
        cdef int length, index
        if fd < 0:
            raise OSError(EBADF, os.strerror(EBADF))
        if fd >= self.owners_length:
            length = max(64, 2 * fd)
            owners = <PyObject **>realloc(self.owners, length * sizeof(PyObject *))
            if owners == NULL:
                raise MemoryError
            for index in range(self.owners_length, length):
                owners[index] = NULL
            self.owners = owners
            self.owners_length = length
        self.owners[fd] = <PyObject *>transport
        return 0

    cdef void disown_descriptor(self, int fd, object transport) noexcept:
        if 0 <= fd < self.owners_length and self.owners[fd] == <PyObject *>transport:
            self.owners[fd] = NULL

    cdef list transports(self):
        """Those that have a descriptor."""
        cdef int fd
        return [<object>self.owners[fd] for fd in range(self.owners_length)
                if self.owners[fd] != NULL]

    cdef int check_not_owned(self, int fd) except -1:
        """RuntimeError when a transport uses the descriptor; one that is closing lets go of it."""
        if 0 <= fd < self.owners_length and self.owners[fd] != NULL:
            transport = <object>self.owners[fd]
            if (<SendingTransport>transport).uses_descriptor():
                raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")
        return 0

    @cython.nonecheck(False)
    cdef int send_unsent(self) except -1:
        """Queue one send for each transport written to; all leave with the next submission.

        With next to no connections a transport that is alone sends at once: there is
        nothing to batch, and its peer starts to work while this thread goes to sleep (0.4 us
        of 15 for one connection; at 8 connections there was no difference).
        """
        cdef list unsent = self.unsent
        cdef Py_ssize_t done = 0
        self.unsent = []
        self.batch_bytes = 0
        if len(unsent) == 1 and self.engine.in_flight <= LONELY_IN_FLIGHT:
            return (<SendingTransport>unsent[0]).send_alone()
        try:
            for transport in unsent:
                done += 1
                (<SendingTransport>transport).submit_unsent()
        finally:
            if done < len(unsent):             # an exception handler raised
                self.unsent = unsent[done:] + self.unsent
        return 0

    cdef int send_batch(self) except -1:
        """Send what is unsent before the turn ends: so much is not kept in memory.

        Not while sends are being settled, whose list would change.
        """
        if self.engine.waiting:
            return 0
        self.send_unsent()
        return self.engine.flush_sends()


cdef class SendingTransport(TransportBase):
    """What the loop needs to know of a transport."""

    cdef bint uses_descriptor(self) except -1:
        raise NotImplementedError

    cdef int close_descriptor_when_idle(self) except -1:
        raise NotImplementedError

    cdef int submit_unsent(self) except -1:
        raise NotImplementedError

    cdef int send_alone(self) except -1:
        raise NotImplementedError


cdef int descriptor_of(file) except -1:
    """A descriptor, or that of an object with fileno(); ValueError as selectors raise it."""
    cdef int fd
    if isinstance(file, int):
        fd = file
    else:
        try:
            fd = int(file.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {file!r}") from None
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd
