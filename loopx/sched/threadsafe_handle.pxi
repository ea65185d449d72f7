# The handle that call_soon_threadsafe returns where a plain one would not do: without a GIL, and
# from Python 3.14 on. Other threads may cancel it.
# Its state, changed by compare-and-exchange alone, decides whether it runs or is cancelled, never
# both. Under a GIL that is one step without a locked instruction. From Python 3.14 on, as in
# asyncio, cancel() and cancelled() wait on other threads while the callback runs. No lock is taken
# unless somebody waits.

cdef extern from * nogil:
    """
    #ifdef Py_GIL_DISABLED
    static inline int loopx_replace_state(int *place, int old, int state) {
        return __atomic_compare_exchange_n(place, &old, state, 0,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    #define loopx_exchange_state(place, state) loopx_exchange_int((place), (state))
    #else
    static inline int loopx_replace_state(int *place, int old, int state) {
        return *place == old ? (*place = state, 1) : 0;
    }
    static inline int loopx_exchange_state(int *place, int state) {
        int old = *place;
        *place = state;
        return old;
    }
    #endif
    """
    bint loopx_replace_state(int *place, int old, int state)
    int loopx_exchange_state(int *place, int state)


# idle --run--> running [--somebody waits--> awaited] --> idle --cancel--> cancelled
cdef enum HandleState:
    HANDLE_IDLE
    HANDLE_RUNNING
    HANDLE_AWAITED
    HANDLE_CANCELLED

cdef bint CANCELLING_WAITS = sys.version_info >= (3, 14)
cdef object callback_over = threading.Condition()


cdef class ThreadSafeHandle(Handle):
    """What call_soon_threadsafe returns without a GIL, and from Python 3.14 on."""

    cdef InboxNode inbox_node                # used between call_soon_threadsafe and draining
    cdef unsigned long long runner           # the thread that runs the callback, or 0

    def cancel(self):
        """Make sure that the callback is not called any more. Idempotent."""
        cdef ThreadSafeHandle held = self         # the callback's end may take the last reference
        wait_for_callback(held)
        if not held.is_cancelled:
            held.is_cancelled = True
            remember_repr(held)
        if (loopx_replace_state(&held.state, HANDLE_IDLE, HANDLE_CANCELLED)
                or held.runner == current_thread()):
            handle_forget(held)                   # nobody else is at it

    def cancelled(self):
        """True after cancel(). On another thread it first waits for a callback that runs."""
        wait_for_callback(self)
        return self.is_cancelled != 0

    def _run(self):
        cdef ThreadSafeHandle held = self         # the caller's reference may be a borrowed one
        run_unless_cancelled(held)


cdef int wait_for_callback(ThreadSafeHandle handle) except -1:
    """Wait while the callback runs, unless this is the thread that it runs on."""
    if not CANCELLING_WAITS or handle.runner == current_thread():
        return 0
    if loopx_load_int(&handle.state) not in (HANDLE_RUNNING, HANDLE_AWAITED):
        return 0
    with callback_over:
        loopx_replace_state(&handle.state, HANDLE_RUNNING, HANDLE_AWAITED)
        while loopx_load_int(&handle.state) == HANDLE_AWAITED:
            callback_over.wait()
    return 0


cdef int run_unless_cancelled(ThreadSafeHandle handle) except -1:
    if not loopx_replace_state(&handle.state, HANDLE_IDLE, HANDLE_RUNNING):
        return 0                              # cancelled, or running already, by hand
    handle.runner = current_thread()
    try:
        handle_run(handle)
    finally:
        handle.runner = 0
        if loopx_exchange_state(&handle.state, HANDLE_IDLE) == HANDLE_AWAITED:
            with callback_over:
                callback_over.notify_all()
        if (handle.is_cancelled               # meanwhile
                and loopx_replace_state(&handle.state, HANDLE_IDLE, HANDLE_CANCELLED)):
            handle_forget(handle)
    return 0


cdef inline Handle new_threadsafe_handle():
    """With a GIL, which each step of a plain one is made under, that will do if nobody waits."""
    if NO_GIL or CANCELLING_WAITS:
        return ThreadSafeHandle.__new__(ThreadSafeHandle)
    return Handle.__new__(Handle)


cdef inline int run_any_handle(Handle handle) except -1:
    if type(handle) is ThreadSafeHandle:
        return run_unless_cancelled(<ThreadSafeHandle>handle)
    return handle_run(handle)


cdef inline void *handle_in_inbox(InboxNode *node) noexcept:
    return <char *>node - INBOX_NODE_OFFSET


cdef size_t find_inbox_node(ThreadSafeHandle handle) noexcept:
    return <char *>&handle.inbox_node - <char *><void *>handle


cdef size_t INBOX_NODE_OFFSET = find_inbox_node(ThreadSafeHandle.__new__(ThreadSafeHandle))
