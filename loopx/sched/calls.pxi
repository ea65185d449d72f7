# Calls: what asyncio's own tasks and futures schedule (a step, a wake-up, a done callback). Their
# C code lets go of what call_soon returns at once, so nobody could ever see a handle: there is
# none, but what it would hold stands in the ready queue itself. In debug mode they get handles, and
# a call that fails gets one to be reported with.
# Only the loop's thread may touch them. A call takes two or three slots of the queue, each a
# counted reference with its lowest bits set: its callback, its argument if any, its context.

cdef extern from *:
    """
    /* The one tuple of names that asyncio's C code passes with each call: who passes this very
     * object is that code, and no wrapper around call_soon that may want the handle. NULL where
     * tasks and futures are written in Python. */
    static PyObject *loopx_names_of_asyncio;

    /* The type of what a task has called to take a step. Nobody but the queue keeps one, and its
     * destructor does not mind that it is hidden from the collector. */
    static PyTypeObject *loopx_step_type;

    #define LOOPX_CALL_BITS 3
    #define loopx_slots_after(slot) ((size_t)(slot) & LOOPX_CALL_BITS)
    #define loopx_of_call(object, slots_after) ((void *)((size_t)(object) | (slots_after)))
    #define loopx_without_bits(slot) ((PyObject *)((size_t)(slot) & ~(size_t)LOOPX_CALL_BITS))

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

    static inline int loopx_visit_of_call(PyObject *part, visitproc visit, void *argument) {
        if (Py_IS_TYPE(part, loopx_step_type) && !PyObject_GC_IsTracked(part))
            return loopx_visit_hidden(part, visit, argument);
        return visit(part, argument);
    }
    """
    PyObject *names_of_asyncio "loopx_names_of_asyncio"
    PyTypeObject *step_type "loopx_step_type"
    size_t slots_after "loopx_slots_after"(void *slot) noexcept
    void *of_call "loopx_of_call"(PyObject *part, size_t slots_after) noexcept
    PyObject *without_bits "loopx_without_bits"(void *slot) noexcept
    void hide_step "loopx_hide_step"(PyObject *callback) noexcept
    void show_step "loopx_show_step"(object callback) noexcept
    int visit_of_call "loopx_visit_of_call"(PyObject *part, visitproc visit,
                                            void *argument) noexcept


cdef inline int push_call(Scheduler loop, PyObject **parts, size_t count) except -1:
    """Push a callback, perhaps its argument, and its context: `count` is 2 or 3."""
    cdef size_t index
    loop.before_push()
    if ready_queue_make_room(&loop.ready, count) < 0:
        raise MemoryError
    for index in range(count):
        Py_INCREF(<object>parts[index])
        ready_queue_push(&loop.ready, of_call(parts[index], count - 1))
    hide_step(parts[0])
    return 0


cdef inline object pop_of_call(ReadyQueue *queue):
    part = <object>without_bits(ready_queue_pop(queue))
    Py_DECREF(part)                            # the queue's reference; `part` is one
    return part


cdef int run_call(Scheduler loop, ReadyQueue *queue) except -1:
    """Run the call at the queue's head; what it raises goes to the exception handler."""
    cdef bint is_one = slots_after(ready_queue_oldest(queue)) == 2
    cdef object callback = pop_of_call(queue)
    cdef object argument = pop_of_call(queue) if is_one else ()
    cdef object context = pop_of_call(queue)
    cdef PyObject *result
    loop.callbacks += 1
    if loop.debug:                             # since the call was pushed
        show_step(callback)
        return loop.run_watched(handle_of_call(loop, callback, argument, is_one, context))
    result = call_in_context(context, callback, argument, is_one)
    if result == NULL:
        show_step(callback)
        return report_failure(None, loop, callback, argument, is_one, context)
    Py_DECREF(<object>result)
    return 0
