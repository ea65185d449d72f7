# Name lookups in threads that hold no GIL: getaddrinfo(3), and what else may ask a name server.
# The loop's thread adds lookups and is told of their ends; the threads of loopx/lookup_pool.py are
# in work(). One that needed the GIL to begin would wait until the loop sleeps.
# A thread touches nothing of a query but its QueuedLookup, and counts no references: what tells the
# loop of the end is a handle made beforehand, with the reference that its place in the inbox has.
# That reference also keeps everything until then. An idle thread refers to no loop.

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_cond_init(pthread_cond_t *condition, const void *attributes)
    int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
    int pthread_cond_signal(pthread_cond_t *condition)
    int pthread_cond_broadcast(pthread_cond_t *condition)

cdef extern from "<netdb.h>" nogil:
    struct addrinfo:
        int ai_flags
        int ai_family
        int ai_socktype
        int ai_protocol
        socklen_t ai_addrlen
        sockaddr *ai_addr
        char *ai_canonname
        addrinfo *ai_next
    int EAI_SYSTEM
    int getaddrinfo(const char *host, const char *service, const addrinfo *hints,
                    addrinfo **answer)
    void freeaddrinfo(addrinfo *answer)
    const char *gai_strerror(int error)

# As the socket module shows these numbers.
cdef dict FAMILIES = {int(family): family for family in socket.AddressFamily}
cdef dict KINDS = {int(kind): kind for kind in socket.SocketKind}

cdef struct QueuedLookup:
    QueuedLookup *next
    void *owner                  # its Lookup
    Inbox *inbox                 # of its loop, which the handle keeps alive
    void *engine
    InboxNode *end               # of the handle
    bint handed_back             # in the inbox now, or was
    int cancelled
    bint is_call                 # of Python; else a query of getaddrinfo(3), whose are the rest:
    const char *host             # NULL: none
    const char *service
    addrinfo hints
    addrinfo *answer
    int error
    int system_error             # errno, where `error` is EAI_SYSTEM


@cython.final
cdef class Lookup:
    """One lookup: what LookupQueue.add_query and add_call return."""

    cdef readonly object future
    cdef QueuedLookup queued
    cdef set unfinished
    cdef ThreadSafeHandle end
    cdef bytes host
    cdef bytes service
    cdef object func
    cdef object result
    cdef object error

    def __dealloc__(self):
        if self.queued.answer != NULL:
            freeaddrinfo(self.queued.answer)

    def cancel(self):
        """Do not begin with it, if no thread has. Its future is the caller's to cancel."""
        loopx_exchange_int(&self.queued.cancelled, 1)

    def _ended(self):
        self.unfinished.discard(self)
        self.end = None                          # it refers to this
        if self.future.done():                   # cancelled
            return
        if not self.queued.is_call:
            try:
                self.result = answer_of(&self.queued)
            except Exception as error:
                self.error = error
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)
            self.error = None                    # its traceback may refer to anything

    cdef int call(self) except -1:
        func, self.func = self.func, None
        try:
            self.result = func()
        except BaseException as error:
            self.error = error
        return 0


cdef list answer_of(QueuedLookup *query):
    """What socket.getaddrinfo returns, or raises."""
    cdef addrinfo *entry = query.answer
    cdef list answer = []
    if query.error == EAI_SYSTEM:
        raise OSError(query.system_error, os.strerror(query.system_error))
    if query.error:
        raise socket.gaierror(query.error, gai_strerror(query.error).decode())
    while entry != NULL:
        answer.append((
            FAMILIES.get(entry.ai_family, entry.ai_family),
            KINDS.get(entry.ai_socktype, entry.ai_socktype),
            entry.ai_protocol,
            entry.ai_canonname.decode() if entry.ai_canonname != NULL else "",
            address_to_python(entry.ai_addr, entry.ai_addrlen),
        ))
        entry = entry.ai_next
    return answer


@cython.final
cdef class LookupQueue:
    """Lookups on their way to the threads that do them, and back to their loop."""

    cdef pthread_mutex_t lock
    cdef pthread_cond_t changed
    cdef QueuedLookup *oldest                    # these six under the lock
    cdef QueuedLookup *newest
    cdef int idle                                # threads
    cdef bint waking                             # one of them, which wakes the next if need be
    cdef bint ended
    cdef bint has_left
    cdef set left                                # what threads may still be at when it has
    cdef object process                          # a forked child has the lock, but not the threads

    def __cinit__(self):
        pthread_mutex_init(&self.lock, NULL)     # neither it nor `changed` has to be destroyed
        pthread_cond_init(&self.changed, NULL)
        self.process = os.getpid()

    def add_query(self, BaseLoop loop not None, set unfinished not None, bytes host, bytes service,
                  tuple hints not None):
        """Have getaddrinfo(3) called; `hints`: family, type, protocol, flags."""
        cdef Lookup query = Lookup.__new__(Lookup)
        cdef addrinfo *asked = &query.queued.hints
        asked.ai_family, asked.ai_socktype, asked.ai_protocol, asked.ai_flags = hints
        query.host = host
        query.service = service
        query.queued.host = PyBytes_AS_STRING(host) if host is not None else NULL
        query.queued.service = PyBytes_AS_STRING(service) if service is not None else NULL
        return self.add(loop, unfinished, query)

    def add_call(self, BaseLoop loop not None, set unfinished not None, func):
        """Have func() called."""
        cdef Lookup call = Lookup.__new__(Lookup)
        call.func = func
        call.queued.is_call = True
        return self.add(loop, unfinished, call)

    cdef Lookup add(self, BaseLoop loop, set unfinished, Lookup lookup):
        cdef ThreadSafeHandle end = ThreadSafeHandle.__new__(ThreadSafeHandle)
        handle_init(end, loop, lookup._ended, (), None)
        lookup.future = (<object>loop).create_future()       # a subclass may have its own
        lookup.unfinished = unfinished
        lookup.end = end
        lookup.queued.owner = <void *>lookup
        lookup.queued.inbox = &loop.inbox
        lookup.queued.engine = <void *>loop.engine
        lookup.queued.end = &end.inbox_node
        unfinished.add(lookup)
        Py_INCREF(end)                           # for its place in the inbox
        pthread_mutex_lock(&self.lock)
        if self.oldest == NULL:
            self.oldest = &lookup.queued
        else:
            self.newest.next = &lookup.queued
        self.newest = &lookup.queued
        self.unlock_and_wake()
        return lookup

    @cython.nonecheck(False)
    cdef void unlock_and_wake(self) noexcept nogil:
        """Wake a thread for what is queued, but one at a time: those awake may be quicker."""
        cdef bint wakes = self.oldest != NULL and self.idle and not self.waking
        self.waking = self.waking or wakes
        pthread_mutex_unlock(&self.lock)
        if wakes:
            pthread_cond_signal(&self.changed)

    def end(self):
        """No more will be added: work() returns when all is done. From any thread."""
        if os.getpid() == self.process:
            pthread_mutex_lock(&self.lock)
            self.ended = True
            pthread_mutex_unlock(&self.lock)
            pthread_cond_broadcast(&self.changed)

    def leave_loop(self, set unfinished not None):
        """The loop is about to be closed: tell it of no more ends, and begin with nothing more."""
        cdef Lookup lookup
        if os.getpid() != self.process:
            return
        self.left = unfinished
        pthread_mutex_lock(&self.lock)
        self.has_left = True
        pthread_mutex_unlock(&self.lock)
        for lookup in list(unfinished):          # what goes away may do anything
            lookup.cancel()
            if not lookup.queued.handed_back and lookup.end is not None:
                Py_DECREF(lookup.end)
            lookup.end = lookup.future = None    # both refer to the loop

    def work(self):
        """Do what is added, on this thread, until end()."""
        cdef QueuedLookup *call
        while True:
            with nogil:
                call = self.answer_queries()
            if call == NULL:
                return
            (<Lookup>call.owner).call()
            with nogil:
                self.hand_back(call)

    cdef QueuedLookup *answer_queries(self) noexcept nogil:
        """Those that come before a call, which is returned, or the end: NULL."""
        cdef QueuedLookup *lookup
        while True:
            lookup = self.take()
            if lookup == NULL:
                return NULL
            if not loopx_load_int(&lookup.cancelled):
                if lookup.is_call:
                    return lookup
                lookup.error = getaddrinfo(lookup.host, lookup.service, &lookup.hints,
                                           &lookup.answer)
                lookup.system_error = errno
            self.hand_back(lookup)

    @cython.nonecheck(False)
    cdef QueuedLookup *take(self) noexcept nogil:
        """The oldest, once there is one; NULL at the end."""
        cdef QueuedLookup *lookup
        pthread_mutex_lock(&self.lock)
        while self.oldest == NULL and not self.ended:
            self.idle += 1
            pthread_cond_wait(&self.changed, &self.lock)
            self.idle -= 1
            self.waking = False
        lookup = self.oldest
        if lookup != NULL:
            self.oldest = lookup.next
        self.unlock_and_wake()
        return lookup

    cdef void hand_back(self, QueuedLookup *lookup) noexcept nogil:
        # Under the lock, as a loop that was left may be gone. Once pushed, the lookup may be, too.
        cdef void *engine = lookup.engine
        pthread_mutex_lock(&self.lock)
        if not self.has_left:
            lookup.handed_back = True
            if inbox_push(lookup.inbox, lookup.end):
                (<Engine>engine).wake()
        pthread_mutex_unlock(&self.lock)
