# Readiness: add_reader and add_writer, and futures that wait for a descriptor once.
# Level-triggered as epoll is: a watch polls once, runs its callback, and polls again. A watch
# that is removed cancels its poll, which may still complete and is then ignored.

@cython.final
cdef class DescriptorWatch:
    """One direction of one descriptor in add_reader or add_writer."""

    cdef Operation operation
    cdef BaseLoop loop
    cdef Handle handle              # what to run; None once removed

    cdef int start(self, BaseLoop loop, int fd, unsigned int events, Handle handle) except -1:
        operation_init(&self.operation, self, on_watch_ready, fd)
        self.operation.kind = POLL
        self.operation.events = events
        self.loop = loop
        self.handle = handle
        return loop.engine.submit(&self.operation)

    cdef Handle stop(self):
        """Watch no more; the handle that is not run any more."""
        handle, self.handle = self.handle, None
        if self.operation.state != OPERATION_IDLE:
            self.loop.engine.cancel(&self.operation)
        return handle


cdef int on_watch_ready(Operation *operation, int result, unsigned int flags) except -1:
    cdef DescriptorWatch watch = <DescriptorWatch>operation.owner
    if watch.handle is None:
        return 0
    # An error of the poll itself is told as readiness: the callback's own call will meet it.
    try:
        watch.loop.run_handle(watch.handle)
    finally:
        if watch.handle is not None and result >= 0 and not watch.loop.closed:
            watch.loop.engine.submit(operation)
    return 0


cdef int add_watch(BaseLoop loop, dict watches, file, unsigned int events, callback,
                   tuple args) except -1:
    cdef int fd = descriptor_of(file)
    cdef Handle handle
    cdef DescriptorWatch watch
    cdef stat_result status
    loop.check_closed()
    loop.check_not_owned(fd)
    if posix_fstat(fd, &status) < 0:
        raise_os_error("add_reader" if events & POLLIN else "add_writer")
    if not (S_ISSOCK(status.st_mode) or S_ISFIFO(status.st_mode)):
        refuse_what_epoll_refuses(fd)
    handle = Handle.__new__(Handle)
    handle_init(handle, loop, callback, args, None)
    try:
        stop_watch(watches, fd)
    finally:                                  # the old callback's __repr__ may have raised
        watch = DescriptorWatch.__new__(DescriptorWatch)
        watches[fd] = watch
        watch.start(loop, fd, events, handle)
    return 0


cdef int refuse_what_epoll_refuses(int fd) except -1:
    """PermissionError for what is always ready, as most files, folders and simple devices are.

    Only epoll_ctl(2) tells: some files of /proc and /sys are watched for changes, and a ring
    calls what cannot be polled ready. Without a descriptor for an epoll nothing is refused.
    """
    try:
        epoll = select.epoll()
    except OSError:
        return 0
    with epoll:
        epoll.register(fd, 0)
    return 0


cdef bint stop_watch(dict watches, int fd) except -1:
    watch = watches.pop(fd, None)
    if watch is None:
        return False
    handle_cancel((<DescriptorWatch>watch).stop())
    return True


@cython.freelist(8)
@cython.final
cdef class DescriptorWait:
    """A future that waits for a descriptor once."""

    cdef Operation operation
    cdef BaseLoop loop
    cdef readonly object future

    cdef DescriptorWait start(self, BaseLoop loop, int fd, unsigned int events):
        operation_init(&self.operation, self, on_wait_over, fd)
        self.operation.kind = POLL
        self.operation.events = events
        self.loop = loop
        self.future = loop.new_future()
        loop.engine.submit(&self.operation)
        return self

    cdef object future_alone(self):
        """The future, for who does not call end()."""
        self.future.add_done_callback(self.end)
        return self.future

    def end(self, future=None):
        """The wait is over: answered, cancelled or given up. A poll ends too, taking nothing."""
        if self.operation.state != OPERATION_IDLE and not self.loop.closed:
            self.future.cancel()               # a closed coroutine left it pending
            self.loop.engine.cancel(&self.operation)


cdef int on_wait_over(Operation *operation, int result, unsigned int flags) except -1:
    cdef DescriptorWait wait = <DescriptorWait>operation.owner
    if not wait.future.done():
        if result < 0:
            wait.future.set_exception(OSError(-result, os.strerror(-result)))
        else:
            wait.future.set_result(None)
    return 0


cdef object wait_for_descriptor(BaseLoop loop, int fd, unsigned int events):
    cdef DescriptorWait wait = DescriptorWait.__new__(DescriptorWait)
    loop.check_closed()
    return wait.start(loop, fd, events).future_alone()
