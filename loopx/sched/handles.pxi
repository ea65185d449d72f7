# Handles: one scheduled callback each, with asyncio.Handle's interface.
# A handle belongs to the loop that made it; only call_soon_threadsafe makes one on another
# thread. A handle holds no lock and knows nothing of queues, but for its timer's place.
# They are kept small, for what many queued ones cost is their memory: no table of virtual methods,
# and what debug mode remembers stands in the place of the context, with the context in it.

cdef extern from *:
    """
    /* Whether nobody has it but the caller. Without a GIL a count of one says nothing. */
    static inline int loopx_is_sole(PyObject *handle) {
    #ifdef Py_GIL_DISABLED
        return 0;
    #else
        PyObject **weak = (PyObject **)((char *)handle + Py_TYPE(handle)->tp_weaklistoffset);
        return Py_REFCNT(handle) == 1 && *weak == NULL;
    #endif
    }
    """
    bint is_sole "loopx_is_sole"(PyObject *handle) noexcept


@cython.internal
cdef class DebugInfo:
    """What debug mode remembers of a handle, in the place of its context."""

    cdef object context
    cdef object source_traceback      # where it was scheduled: traceback.StackSummary, or None
    cdef object repr                  # kept by cancel(), which forgets the callback


cdef object stack_here():
    """Where Python code is: a traceback.StackSummary, or None on a thread that runs none."""
    try:
        frame = sys._getframe()
    except ValueError:
        return None
    # In 3.15 such a thread has a frame, without any code.
    return extract_stack(frame) if frame.f_code is not None else None


cdef inline object check_context(context):
    """A context that a caller named: what handles keep in its place is none."""
    if is_variables(context) or type(context) is DebugInfo:
        raise TypeError("an instance of Context was expected")
    return context


@cython.freelist(250)
@cython.trashcan(True)           # a handle's argument may be a handle, and so on: no recursion
cdef class Handle:
    """What call_soon returns (asyncio.Handle). Made by the loop only."""

    cdef readonly object _callback
    cdef object arguments                    # a tuple, or the only argument; None once forgotten
    cdef object captured                     # its Context, or what to make one of (contexts.pxi),
                                             # or in debug mode a DebugInfo with its Context
    cdef readonly Scheduler _loop
    cdef object __weakref__
    cdef int state                           # of a ThreadSafeHandle, in room that would be empty
    cdef char is_cancelled
    cdef char has_one_argument               # `arguments` is it: most callbacks need no tuple

    def __init__(self, callback, args, loop, context=None):
        if self._loop is not None:
            raise RuntimeError("this handle is made already")
        handle_init(self, <Scheduler?>loop, callback, tuple(args), context)

    @property
    def _cancelled(self):
        return self.is_cancelled != 0

    @property
    def _context(self):
        return own_context(self)

    @property
    def _args(self):
        with cython.critical_section(self):        # no other thread may be forgetting them
            return (self.arguments,) if self.has_one_argument else self.arguments

    @property
    def _source_traceback(self):
        cdef DebugInfo debug_info = handle_debug_info(self)
        return None if debug_info is None else debug_info.source_traceback

    def cancel(self):
        """Make sure that the callback is not called any more. Idempotent."""
        handle_cancel(self)

    def cancelled(self):
        """True after cancel()."""
        return self.is_cancelled != 0

    def get_context(self):
        """The contextvars.Context that the callback runs in."""
        return own_context(self)

    def _run(self):
        cdef Handle held = self                   # the caller's reference may be a borrowed one
        handle_run(held)

    def _repr_info(self):
        return describe_handle(self)

    def __repr__(self):
        cdef DebugInfo debug_info = handle_debug_info(self)
        if debug_info is not None and debug_info.repr is not None:
            return debug_info.repr
        return "<{}>".format(" ".join(self._repr_info()))


cdef inline int handle_init(Handle self, Scheduler loop, object callback, object args,
                            object context) except -1:
    self._loop = loop
    self._callback = callback
    self.arguments = args
    self.captured = capture_context() if context is None else check_context(context)
    if loop.debug:
        remember(self).source_traceback = stack_here()
    return 0


cdef DebugInfo handle_debug_info(Handle self):
    """What debug mode remembers of it, or None."""
    with cython.critical_section(self):        # another thread may be cancelling it
        return self.captured if type(self.captured) is DebugInfo else None


cdef DebugInfo remember(Handle self):
    """The same, made if there is none."""
    cdef DebugInfo info = handle_debug_info(self)
    if info is None:
        info = DebugInfo.__new__(DebugInfo)
        info.context = own_context(self)
        with cython.critical_section(self):
            self.captured = info
    return info


cdef object own_context(Handle self):
    """What it runs its callback in, as its caller gave it or as it was copied."""
    cdef PyObject *context
    with cython.critical_section(self):
        context = handle_context(self)
        if context == NULL:
            raise_current()
        return <object>context


cdef inline PyObject *handle_context(Handle self) noexcept:
    """The same, borrowed. NULL with an exception set: no memory."""
    cdef PyObject *made
    if is_variables(self.captured):
        made = make_or_reuse_context(self.captured, &self._loop.spare_context)
        if made == NULL:
            return NULL
        if is_variables(self.captured):       # making it may have run code that asked for it
            self.captured = <object>made
        Py_DECREF(<object>made)
    elif type(self.captured) is DebugInfo:
        return <PyObject *>(<DebugInfo>self.captured).context
    return <PyObject *>self.captured


cdef int handle_cancel(Handle self) except -1:
    if self.is_cancelled:
        return 0
    self.is_cancelled = True
    if self._loop.is_foreign():
        return 0                               # the loop may be at it
    remember_repr(self)
    return handle_forget(self)


cdef int remember_repr(Handle self) except -1:
    """In debug mode: while callback and arguments are known."""
    if self._loop.debug:
        remember(self).repr = repr(self)
    return 0


cdef int handle_forget(Handle self) except -1:
    """Free what a cancelled handle has no use for."""
    with cython.critical_section(self):        # no other thread may be taking them
        self._callback = None
        self.has_one_argument = False          # first: what an argument's end runs may look
        self.arguments = None
    return 0


cdef int handle_run(Handle self) except -1:
    """Call the callback in its context; what it raises goes to the exception handler."""
    cdef PyObject *result
    cdef object callback = self._callback
    cdef object arguments = self.arguments
    cdef PyObject *borrowed
    cdef object context
    cdef bint is_made = is_variables(self.captured)
    cdef bint is_one = self.has_one_argument     # now: the callback may cancel its own handle
    if arguments is None and not is_one:      # forgotten; a callback that is None is a mistake
        return 0
    borrowed = handle_context(self)
    if borrowed == NULL:
        return report_failure(self, self._loop, callback, arguments, is_one, None)
    context = <object>borrowed
    result = call_in_context(context, callback, arguments, is_one)
    if result == NULL:
        return report_failure(self, self._loop, callback, arguments, is_one, context)
    Py_DECREF(<object>result)
    if is_made and is_sole(<PyObject *>self):
        self.captured = None
        keep_spare_context(context, &self._loop.spare_context)
    return 0


cdef Handle handle_of_call(Scheduler loop, callback, arguments, bint is_one, context):
    """A handle for what was scheduled without one."""
    cdef Handle handle = Handle.__new__(Handle)
    handle._loop = loop
    handle._callback = callback
    handle.arguments = arguments
    handle.has_one_argument = is_one
    handle.captured = context
    return handle


cdef class TimerHandle(Handle):
    """What call_later and call_at return (asyncio.TimerHandle): ordered by time."""

    cdef Timer timer

    def __cinit__(self):
        self.timer.place = -1
        self.timer.owner = <void *>self

    def __init__(self, when, callback, args, loop, context=None):
        if self._loop is not None:
            raise RuntimeError("this handle is made already")
        self.timer.when = when
        handle_init(self, <Scheduler?>loop, callback, tuple(args), context)

    @property
    def _when(self):
        return self.timer.when

    @property
    def _scheduled(self):
        return self.timer.place >= 0

    def cancel(self):
        """Make sure that the callback is not called any more. Idempotent."""
        cdef TimerHandle held = self          # the callback's end may take the last reference
        if held.is_cancelled:
            return
        handle_cancel(held)
        if held.timer.place >= 0 and not held._loop.is_foreign():
            timers_heap_remove(&held._loop.timers, &held.timer)
            Py_DECREF(held)             # the heap's reference

    def when(self):
        """The time at which the callback is due: seconds of loop.time(), a float."""
        return self.timer.when

    def __hash__(self):
        return hash(self.timer.when)

    def __lt__(self, other):
        if isinstance(other, TimerHandle):
            return self.timer.when < (<TimerHandle>other).timer.when
        return NotImplemented

    def __le__(self, other):
        if isinstance(other, TimerHandle):
            return self.timer.when < (<TimerHandle>other).timer.when or self.__eq__(other)
        return NotImplemented

    def __gt__(self, other):
        if isinstance(other, TimerHandle):
            return self.timer.when > (<TimerHandle>other).timer.when
        return NotImplemented

    def __ge__(self, other):
        if isinstance(other, TimerHandle):
            return self.timer.when > (<TimerHandle>other).timer.when or self.__eq__(other)
        return NotImplemented

    def __eq__(self, other):
        cdef TimerHandle that
        if not isinstance(other, TimerHandle):
            return NotImplemented
        that = <TimerHandle>other
        return (self.timer.when == that.timer.when and self._callback == that._callback
                and self._args == that._args and self.is_cancelled == that.is_cancelled)


def describe_handle(handle):
    """The parts of a handle's repr, as asyncio's."""
    parts = [type(handle).__name__]
    if handle._cancelled:
        parts.append("cancelled")
    if isinstance(handle, TimerHandle):
        parts.append(f"when={handle._when}")
    args, callback = handle._args, handle._callback     # in this order: none without the other
    if callback is not None:
        parts.append(format_callback_source(handle._loop, callback, args))
    if handle._source_traceback:
        frame = handle._source_traceback[-1]
        parts.append(f"created at {frame[0]}:{frame[1]}")
    return parts


cdef bint FORMAT_HIDES_ARGUMENTS = "debug" in signature(_format_callback_source).parameters


cdef format_callback_source(Scheduler loop, callback, args):
    """A callback as asyncio shows it; from 3.13 on with its arguments in debug mode only."""
    if FORMAT_HIDES_ARGUMENTS:
        return _format_callback_source(callback, args, debug=loop.debug)
    return _format_callback_source(callback, args)


cdef int report_failure(Handle handle, Scheduler loop, callback, arguments, bint is_one,
                        context) except -1:
    """Tell the exception handler what a callback raised; what ends a program goes on instead.

    A call has no handle, and gets one.
    """
    try:
        raise_current()
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        args = (arguments,) if is_one else arguments
        if handle is None:
            handle = handle_of_call(loop, callback, arguments, is_one, context)
        describe_failed_callback(handle, callback, args, error)
    return 0


cdef describe_failed_callback(Handle handle, callback, args, error):
    context = {
        "message": f"Exception in callback {format_callback_source(handle._loop, callback, args)}",
        "exception": error,
        "handle": handle,
    }
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    handle._loop.call_exception_handler(context)
