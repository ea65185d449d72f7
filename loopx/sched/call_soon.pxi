# call_soon, call_soon_threadsafe and call_later as the interpreter calls them: by vector, so that
# no tuple is made for a callback with one argument or none, and next to nothing is parsed. Each
# takes the place of the vectorcall function of Scheduler's method, which still does whatever is not
# as usual. (A method descriptor in its place is slower: the interpreter wants its exact type.)
# Any thread may call the second one; none touches more than the methods do.

cdef extern from "Python.h":
    ctypedef PyObject *(*VectorFunction "vectorcallfunc")(PyObject *function, PyObject **args,
                                                          size_t count, PyObject *names)
    Py_ssize_t PyVectorcall_NARGS(size_t count)

cdef extern from *:
    """
    static PyObject *loopx_tuple_of(PyObject *const *items, Py_ssize_t count) {
        PyObject *made = PyTuple_New(count);
        if (made != NULL)
            for (Py_ssize_t place = 0; place < count; place++)
                PyTuple_SET_ITEM(made, place, Py_NewRef(items[place]));
        return made;
    }

    /* asyncio's tasks name it by a string of their own, so that comparing addresses is no use. */
    static inline int loopx_is_context(PyObject *name) {
        return PyUnicode_IS_COMPACT_ASCII(name) && PyUnicode_GET_LENGTH(name) == 7
            && memcmp(PyUnicode_DATA(name), "context", 7) == 0;
    }

    /* Nearly always the type that came first, which is kept for ever: no search of its bases. */
    static inline int loopx_is_scheduler(PyObject *self, PyTypeObject *scheduler) {
        static PyTypeObject *first;
        PyTypeObject *known = __atomic_load_n(&first, __ATOMIC_RELAXED);
        if (Py_TYPE(self) == known)
            return 1;
        if (!PyObject_TypeCheck(self, scheduler))
            return 0;
        if (known == NULL) {
            Py_INCREF(Py_TYPE(self));
            __atomic_store_n(&first, Py_TYPE(self), __ATOMIC_RELAXED);
        }
        return 1;
    }

    /* A loop, a callback, its arguments, and nothing by name but perhaps `context`. */
    static inline int loopx_is_usual(PyObject *const *args, Py_ssize_t count, PyObject *names,
                                     PyTypeObject *scheduler) {
        return count >= 2 && loopx_is_scheduler(args[0], scheduler)
            && (names == NULL || (PyTuple_GET_SIZE(names) == 1
                                  && loopx_is_context(PyTuple_GET_ITEM(names, 0))));
    }

    /* A loop, a callback, perhaps one argument, and a context. */
    static inline int loopx_is_call_of_asyncio(PyObject *const *args, Py_ssize_t count,
                                               PyObject *names, PyTypeObject *scheduler) {
        return names == loopx_names_of_asyncio && names != NULL && (count == 2 || count == 3)
            && loopx_is_scheduler(args[0], scheduler) && PyContext_CheckExact(args[count]);
    }

    #define loopx_vectorcall_of(function) (((PyCFunctionObject *)(function))->vectorcall)
    #define loopx_set_vectorcall(function, value) (loopx_vectorcall_of(function) = (value))
    """
    object tuple_of "loopx_tuple_of"(PyObject **items, Py_ssize_t count)
    bint is_usual "loopx_is_usual"(PyObject **args, Py_ssize_t count, PyObject *names,
                                   PyTypeObject *scheduler) noexcept
    bint is_call_of_asyncio "loopx_is_call_of_asyncio"(PyObject **args, Py_ssize_t count,
                                                       PyObject *names,
                                                       PyTypeObject *scheduler) noexcept
    VectorFunction vectorcall_of "loopx_vectorcall_of"(object function)
    void set_vectorcall "loopx_set_vectorcall"(object function, VectorFunction vectorcall) noexcept

check_self_in_methods(Scheduler)

cdef VectorFunction plain_call_soon = vectorcall_of(Scheduler.call_soon)
cdef VectorFunction plain_call_soon_threadsafe = vectorcall_of(Scheduler.call_soon_threadsafe)
cdef VectorFunction plain_call_later = vectorcall_of(Scheduler.call_later)


@cython.nonecheck(False)
cdef PyObject *call_soon_by_vector(PyObject *function, PyObject **args, size_t flagged_count,
                                   PyObject *names) except NULL:
    cdef Py_ssize_t count = PyVectorcall_NARGS(flagged_count)
    cdef Scheduler loop
    cdef Handle handle
    cdef bint is_call = is_call_of_asyncio(args, count, names, <PyTypeObject *>Scheduler)
    if not is_call and not is_usual(args, count, names, <PyTypeObject *>Scheduler):
        return plain_call_soon(function, args, flagged_count, names)
    loop = <Scheduler>args[0]
    if loop.closed or loop.debug or loop.is_foreign():
        return plain_call_soon(function, args, flagged_count, names)
    if is_call:
        push_call(loop, args + 1, count)
        Py_INCREF(None)
        return <PyObject *>None
    handle = Handle.__new__(Handle)
    handle_fill(handle, loop, args + 1, count - 1, names)
    loop.push(handle)
    Py_INCREF(handle)
    return <PyObject *>handle


@cython.nonecheck(False)
cdef PyObject *call_soon_threadsafe_by_vector(PyObject *function, PyObject **args,
                                              size_t flagged_count, PyObject *names) except NULL:
    cdef Py_ssize_t count = PyVectorcall_NARGS(flagged_count)
    cdef Scheduler loop
    cdef Handle handle
    if not is_usual(args, count, names, <PyTypeObject *>Scheduler):
        return plain_call_soon_threadsafe(function, args, flagged_count, names)
    loop = <Scheduler>args[0]
    if loop.closed or loop.debug:
        return plain_call_soon_threadsafe(function, args, flagged_count, names)
    handle = new_threadsafe_handle()
    handle_fill(handle, loop, args + 1, count - 1, names)
    loop.hand_over(handle)
    Py_INCREF(handle)
    return <PyObject *>handle


@cython.nonecheck(False)
cdef PyObject *call_later_by_vector(PyObject *function, PyObject **args, size_t flagged_count,
                                    PyObject *names) except NULL:
    cdef Py_ssize_t count = PyVectorcall_NARGS(flagged_count)
    cdef Scheduler loop
    cdef TimerHandle handle
    cdef double when
    if count < 3 or not is_usual(args, count, names, <PyTypeObject *>Scheduler):
        return plain_call_later(function, args, flagged_count, names)
    loop = <Scheduler>args[0]
    # A delay of another type is converted by its own code, which may close the loop.
    if (loop.closed or loop.debug or loop.is_foreign()
            or not (PyFloat_CheckExact(<object>args[1]) or PyLong_CheckExact(<object>args[1]))):
        return plain_call_later(function, args, flagged_count, names)
    when = monotonic_seconds() + <double><object>args[1]
    handle = TimerHandle.__new__(TimerHandle)
    handle_fill(handle, loop, args + 2, count - 2, names)
    handle.timer.when = when
    loop.start_timer(handle)
    Py_INCREF(handle)
    return <PyObject *>handle


@cython.nonecheck(False)
cdef inline int handle_fill(Handle self, Scheduler loop, PyObject **args, Py_ssize_t count,
                            PyObject *names) except -1:
    """handle_init from a vector: args[0] is the callback, args[count] the context if named."""
    self._loop = loop
    self._callback = <object>args[0]
    if count == 2:
        self.arguments = <object>args[1]
        self.has_one_argument = True
    else:
        self.arguments = tuple_of(args + 1, count - 1)
    if names == NULL or <object>args[count] is None:
        self.captured = capture_context()
    else:
        self.captured = check_context(<object>args[count])
    return 0


cdef PyObject *learn_from_asyncio(PyObject *function, PyObject **args, size_t flagged_count,
                                  PyObject *names) except NULL:
    """call_soon, as a new task calls it: keeps what its calls are known by."""
    global names_of_asyncio, step_type
    if names != NULL and type(<object>args[1]).__name__ == "TaskStepMethWrapper":
        keep_for_ever(<object>names, &names_of_asyncio)
        keep_for_ever(type(<object>args[1]), <PyObject **>&step_type)
    Py_INCREF(None)
    return <PyObject *>None


cdef int make_a_task() except -1:
    class Loop(Scheduler):
        def get_debug(self):
            return False

    async def nothing():
        pass

    coroutine = nothing()
    task = Task(coroutine, loop=Loop(), name="of loopx")      # or Task-1 would be taken
    task._log_destroy_pending = False
    coroutine.close()
    return 0


set_vectorcall(Scheduler.call_soon, <VectorFunction>learn_from_asyncio)
make_a_task()
set_vectorcall(Scheduler.call_soon, <VectorFunction>call_soon_by_vector)
set_vectorcall(Scheduler.call_soon_threadsafe, <VectorFunction>call_soon_threadsafe_by_vector)
set_vectorcall(Scheduler.call_later, <VectorFunction>call_later_by_vector)
