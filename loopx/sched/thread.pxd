# Which thread this is: a number never given twice, unlike pthread_self() or a thread id, which a
# new thread may inherit from a dead one. A ring belongs to the kernel's task, so that matters.

cdef extern from * nogil:
    """
    static unsigned long long loopx_threads_seen;
    /* initial-exec: no call to find it, at the price of 8 bytes of static storage. */
    static __thread __attribute__((tls_model("initial-exec")))
        unsigned long long loopx_thread_number;
    static inline unsigned long long loopx_current_thread(void) {
        if (!loopx_thread_number)
            loopx_thread_number = __atomic_add_fetch(&loopx_threads_seen, 1, __ATOMIC_RELAXED);
        return loopx_thread_number;
    }
    """
    unsigned long long loopx_current_thread()


cdef inline unsigned long long current_thread() noexcept nogil:
    """Never 0."""
    return loopx_current_thread()
