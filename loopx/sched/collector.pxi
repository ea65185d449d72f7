# What the garbage collector need not look at: what stands in a queue and nowhere else. With many
# callbacks ready most of what it looks at would be these. Whatever traverses the queue visits what
# they refer to as if it were the queue's own. Whoever shows one to others lets the collector know
# it first. Without a GIL nothing is hidden: there a count of one says nothing.

cdef extern from *:
    """
    static inline int loopx_is_sole(PyObject *handle) {
    #ifdef Py_GIL_DISABLED
        return 0;
    #else
        PyObject **weak = (PyObject **)((char *)handle + Py_TYPE(handle)->tp_weaklistoffset);
        return Py_REFCNT(handle) == 1 && *weak == NULL;
    #endif
    }

    static inline void loopx_hide_if_sole(PyObject *handle) {
        if (loopx_is_sole(handle))
            PyObject_GC_UnTrack(handle);
    }

    static inline void loopx_show(PyObject *handle) {
        if (!PyObject_GC_IsTracked(handle))
            PyObject_GC_Track(handle);
    }

    /* More than one reference: what gc.get_referents() told may reach it from elsewhere. */
    static inline int loopx_visit_hidden(PyObject *thing, visitproc visit, void *argument) {
        return Py_REFCNT(thing) == 1 ? Py_TYPE(thing)->tp_traverse(thing, visit, argument) : 0;
    }

    static inline int loopx_visit_handle(PyObject *handle, visitproc visit, void *argument) {
        if (PyObject_GC_IsTracked(handle))
            return visit(handle, argument);
        return loopx_visit_hidden(handle, visit, argument);
    }
    """
    bint is_sole "loopx_is_sole"(object handle) noexcept
    void hide_if_sole "loopx_hide_if_sole"(void *handle) noexcept
    void show "loopx_show"(object handle) noexcept
    int visit_handle "loopx_visit_handle"(void *handle, visitproc visit, void *argument) noexcept
