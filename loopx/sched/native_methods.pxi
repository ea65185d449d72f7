# Methods of native classes that look at `self`. Cython's own do so only where they are bound, so
# that `Handle.cancel(5)`, which any Python code may write, would read a number as a handle.
# Each kind of call that Cython's functions know gets a vectorcall function that looks first.

cdef extern from *:
    """
    #define LOOPX_NATIVE_METHOD(function) ((PyCMethodObject *)(function))
    #define LOOPX_METHOD_KINDS 4
    static vectorcallfunc loopx_unchecked[LOOPX_METHOD_KINDS];

    /* The chain of bases that share their layout is shorter than the whole order of bases. */
    static inline int loopx_is_of(PyObject *self, PyTypeObject *type) {
        PyTypeObject *base = Py_TYPE(self);
        while (base != type && base != NULL)
            base = base->tp_base;
        return base != NULL || PyType_IsSubtype(Py_TYPE(self), type);
    }

    static PyObject *loopx_call_checked(int kind, PyObject *function, PyObject *const *args,
                                        size_t count, PyObject *names) {
        PyTypeObject *type = LOOPX_NATIVE_METHOD(function)->mm_class;
        if (PyVectorcall_NARGS(count) == 0)
            return PyErr_Format(PyExc_TypeError, "unbound method %.200s.%.200s() needs an argument",
                                type->tp_name, LOOPX_NATIVE_METHOD(function)->func.m_ml->ml_name);
        if (!loopx_is_of(args[0], type))
            return PyErr_Format(
                PyExc_TypeError, "descriptor '%.200s' for '%.200s' objects doesn't apply to a "
                "'%.200s' object", LOOPX_NATIVE_METHOD(function)->func.m_ml->ml_name,
                type->tp_name, Py_TYPE(args[0])->tp_name);
        return loopx_unchecked[kind](function, args, count, names);
    }

    #define LOOPX_CHECKED(kind) \\
        static PyObject *loopx_checked_##kind(PyObject *function, PyObject *const *args, \\
                                              size_t count, PyObject *names) { \\
            return loopx_call_checked(kind, function, args, count, names); \\
        }
    LOOPX_CHECKED(0) LOOPX_CHECKED(1) LOOPX_CHECKED(2) LOOPX_CHECKED(3)
    static const vectorcallfunc loopx_checked[LOOPX_METHOD_KINDS] = {
        loopx_checked_0, loopx_checked_1, loopx_checked_2, loopx_checked_3
    };

    /* The slot of mm_class is Cython's for Python classes; it is empty for native ones. */
    static int loopx_check_self(PyObject *function, PyTypeObject *type) {
        PyCMethodObject *method = LOOPX_NATIVE_METHOD(function);
        int kind = 0;
        if (method->mm_class != NULL)
            return 0;
        while (kind < LOOPX_METHOD_KINDS && loopx_unchecked[kind] != method->func.vectorcall
               && loopx_unchecked[kind] != NULL)
            kind++;
        if (kind == LOOPX_METHOD_KINDS || method->func.vectorcall == NULL) {
            PyErr_Format(PyExc_SystemError, "%R cannot be made to look at self", function);
            return -1;
        }
        loopx_unchecked[kind] = method->func.vectorcall;
        method->func.vectorcall = loopx_checked[kind];
        method->mm_class = (PyTypeObject *)Py_NewRef((PyObject *)type);
        return 0;
    }
    """
    int check_self "loopx_check_self"(object function, PyTypeObject *type) except -1


cdef int check_self_in_methods(type native) except -1:
    for method in vars(native).values():
        if type(method).__name__ == "cython_function_or_method":
            check_self(method, <PyTypeObject *>native)
    return 0
