# Calls: callbacks that nobody has a handle of. What a handle would hold stands in the ready queue
# itself, in a row, which is less memory by far when many wait.
# - What asyncio's own tasks and futures schedule (a step, a wake-up, a done callback) is a call
#   from the start: their C code lets go of what call_soon returns at once.
# - A handle that its caller did not keep becomes one when the next is pushed; with a GIL, without
#   which nothing tells who else has it.
# In debug mode there are handles, and a call that fails gets one to be reported with.
# A call takes two or three slots, each a counted reference with the call's kind in its lowest bits:
# the callback, the arguments if any, and its context or what to make one of (contexts.pxi).

cdef extern from *:
    """
    /* The one tuple of names that asyncio's C code passes with each call: who passes this very
     * object is that code, and no wrapper around call_soon that may want the handle. NULL where
     * tasks and futures are written in Python. */
    static PyObject *loopx_names_of_asyncio;

    #define LOOPX_CALL_BITS 3
    enum { LOOPX_CALL_WITH_NONE = 1, LOOPX_CALL_WITH_ONE, LOOPX_CALL_WITH_TUPLE };
    #define loopx_call_kind(slot) ((size_t)(slot) & LOOPX_CALL_BITS)
    #define loopx_slots_after(slot) \\
        (loopx_call_kind(slot) == LOOPX_CALL_WITH_TUPLE ? 2 : loopx_call_kind(slot))
    #define loopx_of_call(part, kind) ((void *)((size_t)(part) | (kind)))
    #define loopx_without_bits(slot) ((PyObject *)((size_t)(slot) & ~(size_t)LOOPX_CALL_BITS))

    /* Nobody but the queue keeps what takes a step, so the collector need not know it, and its
     * destructor does not mind. */
    static inline void loopx_hide_step(PyObject *callback) {
    #ifndef Py_GIL_DISABLED
        if (Py_IS_TYPE(callback, loopx_step_type))
            PyObject_GC_UnTrack(callback);
    #endif
    }

    static inline void loopx_show_step(PyObject *callback) {
        if (Py_IS_TYPE(callback, loopx_step_type) && !PyObject_GC_IsTracked(callback))
            PyObject_GC_Track(callback);
    }

    /* What a hidden step refers to is visited as if it were the queue's own. */
    static inline int loopx_visit_of_call(PyObject *part, visitproc visit, void *argument) {
        if (!Py_IS_TYPE(part, loopx_step_type) || PyObject_GC_IsTracked(part))
            return visit(part, argument);
        return Py_TYPE(part)->tp_traverse(part, visit, argument);
    }
    """
    PyObject *names_of_asyncio "loopx_names_of_asyncio"
    PyTypeObject *step_type "loopx_step_type"
    enum:
        CALL_WITH_NONE "LOOPX_CALL_WITH_NONE"
        CALL_WITH_ONE "LOOPX_CALL_WITH_ONE"
        CALL_WITH_TUPLE "LOOPX_CALL_WITH_TUPLE"
    size_t slots_after "loopx_slots_after"(void *slot) noexcept
    size_t call_kind "loopx_call_kind"(void *slot) noexcept
    bint is_call "loopx_call_kind"(void *slot) noexcept
    void *of_call "loopx_of_call"(PyObject *part, size_t kind) noexcept
    PyObject *without_bits "loopx_without_bits"(void *slot) noexcept
    void hide_step "loopx_hide_step"(PyObject *callback) noexcept
    void show_step "loopx_show_step"(object callback) noexcept
    int visit_of_call "loopx_visit_of_call"(PyObject *part, visitproc visit,
                                            void *argument) noexcept


cdef inline void append_part(ReadyQueue *queue, PyObject *part, size_t kind) noexcept:
    """There must be room."""
    Py_INCREF(<object>part)
    ready_queue_push(queue, of_call(part, kind))


@cython.nonecheck(False)
cdef inline int push_call(Scheduler loop, PyObject **parts, size_t count) except -1:
    """Push a callback, perhaps its argument, and its context: `count` is 2 or 3."""
    cdef size_t index
    loop.before_push()
    if ready_queue_make_room(&loop.ready, count) < 0:
        raise MemoryError
    for index in range(count):
        append_part(&loop.ready, parts[index], count - 1)
    loop.slots_besides += count - 1
    hide_step(parts[0])
    return 0


@cython.nonecheck(False)
cdef inline void newest_to_call(Scheduler loop) noexcept:
    """Make the newest handle a call if nobody but the queue has it."""
    cdef ReadyQueue *queue = &loop.ready
    cdef PyObject *newest = <PyObject *>ready_queue_newest(queue)
    cdef Handle handle
    cdef size_t kind
    if is_call(newest) or not is_sole(newest):
        return
    handle = <Handle>newest
    if handle.is_cancelled or type(handle.captured) is DebugInfo:
        return
    if handle.has_one_argument:
        kind = CALL_WITH_ONE
    elif len(<tuple>handle.arguments) == 0:
        kind = CALL_WITH_NONE
    else:
        kind = CALL_WITH_TUPLE
    if ready_queue_make_room(queue, 2) < 0:
        return                                 # short of memory; it may stay a handle
    queue.tail -= 1
    append_part(queue, <PyObject *>handle._callback, kind)
    if kind != CALL_WITH_NONE:
        append_part(queue, <PyObject *>handle.arguments, kind)
    append_part(queue, <PyObject *>handle.captured, kind)
    loop.slots_besides += slots_after(ready_queue_newest(queue))
    Py_DECREF(handle)                          # the queue's


cdef inline PyObject *pop_of_call(ReadyQueue *queue) noexcept:
    """A part, with the queue's reference."""
    return without_bits(ready_queue_pop(queue))


@cython.nonecheck(False)
cdef int run_call(Scheduler loop) except -1:
    """Run the call at the queue's head; what it raises goes to the exception handler."""
    cdef ReadyQueue *queue = &loop.ready
    cdef size_t kind = call_kind(ready_queue_oldest(queue))
    cdef bint is_one = kind == CALL_WITH_ONE
    # Pointers, as what the queue counted is enough.
    cdef PyObject *callback = pop_of_call(queue)
    cdef PyObject *arguments = NULL if kind == CALL_WITH_NONE else pop_of_call(queue)
    cdef PyObject *captured = pop_of_call(queue)
    loop.slots_besides -= 1 if kind == CALL_WITH_NONE else 2
    loop.callbacks += 1
    try:
        run_parts(loop, callback, <PyObject *>() if arguments == NULL else arguments, is_one,
                  captured)
    finally:
        Py_DECREF(<object>callback)
        Py_XDECREF(arguments)
        Py_DECREF(<object>captured)
    return 0


@cython.nonecheck(False)
cdef inline int run_parts(Scheduler loop, PyObject *callback, PyObject *arguments, bint is_one,
                          PyObject *captured) except -1:
    cdef PyObject *result
    cdef object context
    cdef bint is_made = is_variables(<object>captured)
    if loop.debug:                             # since the call was pushed
        show_step(<object>callback)
        return loop.run_watched(handle_of_call(loop, <object>callback, <object>arguments, is_one,
                                               <object>captured))
    if not is_made:
        result = call_in_context(<object>captured, <object>callback, <object>arguments, is_one)
        if result == NULL:
            return call_failed(loop, callback, arguments, is_one, captured)
        Py_DECREF(<object>result)
        return 0
    result = make_or_reuse_context(<object>captured, &loop.spare_context)
    if result == NULL:
        return call_failed(loop, callback, arguments, is_one, captured)
    context = <object>result
    Py_DECREF(context)
    result = call_in_context(context, <object>callback, <object>arguments, is_one)
    if result == NULL:
        return call_failed(loop, callback, arguments, is_one, <PyObject *>context)
    Py_DECREF(<object>result)
    keep_spare_context(context, &loop.spare_context)
    return 0


cdef int call_failed(Scheduler loop, PyObject *callback, PyObject *arguments, bint is_one,
                     PyObject *context) except -1:
    show_step(<object>callback)
    return report_failure(None, loop, <object>callback, <object>arguments, is_one,
                          <object>context)
