# The context of a callback, made when the callback runs. What call_soon has to keep of the caller's
# context is its variables: an immutable mapping (a HAMT, PEP 567) that contexts share. So the copy
# can wait: a queued handle is one object less, and none that the collector has to look at.
# CPython has no call for either half. What its contexts look like inside is tried out at import;
# where it is another way, or there is no GIL, handles copy their context at once, as asyncio's do.

cdef extern from *:
    """
    typedef struct {
        PyObject_HEAD
        PyObject *previous;
        PyObject *variables;
        PyObject *weak_references;
        int is_entered;
    } LoopxContext;

    /* The type of a context's variables; NULL where contexts are not as above. */
    static PyTypeObject *loopx_variables_type;
    static PyObject *loopx_no_variables;

    /* A new reference to the current context's variables, or to a copy of it. */
    static inline PyObject *loopx_capture_context(void) {
        PyObject *current = PyThreadState_Get()->context;
        if (current == NULL || loopx_variables_type == NULL)
            return PyContext_CopyCurrent();
        return Py_NewRef(((LoopxContext *)current)->variables);
    }

    static inline int loopx_is_variables(PyObject *captured) {
        return Py_IS_TYPE(captured, loopx_variables_type);
    }

    static inline int loopx_has_variables(PyObject *context, PyObject *mapping) {
        return ((LoopxContext *)context)->variables == mapping;
    }

    static inline int loopx_is_mine_alone(PyObject *context) {
        return Py_REFCNT(context) == 1 && ((LoopxContext *)context)->weak_references == NULL;
    }

    static inline PyObject *loopx_make_context(PyObject *variables) {
        PyObject *context = PyContext_New();
        if (context != NULL)
            Py_SETREF(((LoopxContext *)context)->variables, Py_NewRef(variables));
        return context;
    }

    /* The same, out of the spare one if there is one that nobody found (gc.get_objects). */
    static inline PyObject *loopx_make_or_reuse_context(PyObject *variables, PyObject **spare) {
        PyObject *context = *spare;
        if (context == NULL || !loopx_is_mine_alone(context))
            return loopx_make_context(variables);
        *spare = NULL;
        Py_SETREF(((LoopxContext *)context)->variables, Py_NewRef(variables));
        return context;
    }

    /* The type of what a task has called to take a step (calls.pxi learns it), which has nothing
     * but tp_call: PyObject_Vectorcall finds that out anew each time. */
    static PyTypeObject *loopx_step_type;

    /* NULL with an exception set where the callback raised it. */
    static inline PyObject *loopx_call_in_context(PyObject *context, PyObject *callback,
                                                  PyObject *arguments, int is_one) {
        PyObject *result;
        if (PyContext_Enter(context) < 0)
            return NULL;
        if (is_one)
            result = call_with_one(callback, arguments);
        else if (Py_IS_TYPE(callback, loopx_step_type))
            result = loopx_step_type->tp_call(callback, arguments, NULL);
        else
            result = call_with_tuple(callback, arguments);
        if (PyContext_Exit(context) < 0)
            Py_CLEAR(result);
        return result;
    }

    /* Keep a context that nobody but the caller has for the next handle, as an empty one. */
    static inline void loopx_keep_spare_context(PyObject *context, PyObject **spare) {
        if (loopx_is_mine_alone(context)) {
            Py_XSETREF(*spare, Py_NewRef(context));
            Py_SETREF(((LoopxContext *)context)->variables, Py_NewRef(loopx_no_variables));
        }
    }
    """
    ctypedef struct LoopxContext:
        pass
    PyTypeObject *variables_type "loopx_variables_type"
    PyObject *no_variables "loopx_no_variables"
    object capture_context "loopx_capture_context"()
    bint is_variables "loopx_is_variables"(object captured) noexcept
    bint has_variables "loopx_has_variables"(object context, object mapping) noexcept
    object make_context "loopx_make_context"(object variables)
    PyObject *make_or_reuse_context "loopx_make_or_reuse_context"(object variables,
                                                                  PyObject **spare)
    PyObject *call_in_context "loopx_call_in_context"(object context, object callback,
                                                      object arguments, bint is_one) noexcept
    void keep_spare_context "loopx_keep_spare_context"(object context, PyObject **spare) noexcept


cdef int learn_variables_type() except -1:
    """Find out whether contexts are made of variables as this file takes it."""
    global no_variables, variables_type
    variable = ContextVar("variable")
    empty = Context()
    original = Context()
    original.run(variable.set, "of the original")
    if NO_GIL or Context.__basicsize__ != sizeof(LoopxContext):
        return 0
    referents = gc.get_referents(empty, original)
    if (len(referents) != 2 or not has_variables(empty, referents[0])
            or not has_variables(original, referents[1])):
        return 0
    made = make_context(referents[1])
    if made != original or made is original:
        return 0
    made.run(variable.set, "of the other")
    if original[variable] == "of the original" and made[variable] == "of the other":
        keep_for_ever(referents[0], &no_variables)
        keep_for_ever(type(referents[1]), <PyObject **>&variables_type)
    return 0


cdef void keep_for_ever(thing, PyObject **place) noexcept:
    Py_INCREF(thing)
    place[0] = <PyObject *>thing


learn_variables_type()
