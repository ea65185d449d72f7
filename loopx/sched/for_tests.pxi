# The bare structures as Python objects, so that hypothesis can drive them against heapq and
# deque. Nothing in loopx uses these classes.

cdef class ReadyQueueForTests:
    """sched/ready_queue.pxd with Python objects in it; `capacity` is a power of two."""

    cdef ReadyQueue queue

    def __cinit__(self, size_t capacity=4):
        if capacity == 0 or capacity & (capacity - 1):
            raise ValueError(f"capacity must be a power of two, got {capacity}")
        ready_queue_init(&self.queue, capacity)

    def __dealloc__(self):
        while ready_queue_length(&self.queue):
            Py_DECREF(<object>ready_queue_pop(&self.queue))
        ready_queue_free(&self.queue)

    def __len__(self):
        return ready_queue_length(&self.queue)

    def push(self, item):
        self.push_together([item])

    def push_together(self, list items not None):
        if ready_queue_make_room(&self.queue, len(items)) < 0:
            raise MemoryError
        for item in items:
            ready_queue_push(&self.queue, <void *>item)
            Py_INCREF(item)

    def pop(self):
        cdef void *item = ready_queue_pop(&self.queue)
        if item == NULL:
            raise IndexError("pop from an empty queue")
        value = <object>item
        Py_DECREF(value)
        return value


cdef class TimersHeapForTests:
    """sched/timers_heap.pxd with integer keys."""

    cdef TimersHeap heap
    cdef dict timers          # key: its Timer, as an address

    def __cinit__(self):
        self.timers = {}

    def __dealloc__(self):
        cdef ssize_t place
        for place in range(self.heap.length):
            free(self.heap.places[place].timer)
        timers_heap_free(&self.heap)

    def __len__(self):
        return self.heap.length

    def push(self, double when, long key):
        cdef Timer *timer
        if key in self.timers:
            raise ValueError(f"key {key} is in use")
        timer = <Timer *>malloc(sizeof(Timer))
        if timer == NULL:
            raise MemoryError
        timer.when = when
        timer.place = -1
        timer.owner = <void *>key
        timers_heap_add(&self.heap, timer)
        self.timers[key] = <size_t>timer

    def cancel(self, long key):
        cdef Timer *timer = <Timer *><size_t>self.timers.pop(key)
        timers_heap_remove(&self.heap, timer)
        free(timer)

    def peek(self):
        cdef Timer *timer = timers_heap_first(&self.heap)
        return None if timer == NULL else timer.when

    def has_two_before(self, double when):
        return timers_heap_has_two_before(&self.heap, when)

    def pop_due(self, double now):
        cdef Timer *timer = timers_heap_first(&self.heap)
        cdef list keys = []
        while timer != NULL and timers_heap_when(&self.heap) <= now:
            timers_heap_remove(&self.heap, timer)
            keys.append(<long>timer.owner)
            free(<void *><size_t>self.timers.pop(<long>timer.owner))
            timer = timers_heap_first(&self.heap)
        return keys


cdef class SpinForTests:
    """sched/spin.pxd."""

    cdef Spin spin

    def __cinit__(self, long long limit_ns):
        spin_init(&self.spin, limit_ns)

    def due(self, bint lonely=True):
        return spin_is_due(&self.spin, lonely)

    def ended(self, long long spun_ns, bint found):
        spin_ended(&self.spin, spun_ns, found)

    def slept(self, long long ns):
        spin_slept(&self.spin, ns)


cdef class StreamingForTests:
    """sched/streaming.pxd."""

    cdef Streaming streaming

    def received(self, size_t sender, Py_ssize_t length):
        self.streaming.polls += 1
        streaming_received(&self.streaming, <void *>sender, length)

    def goes_on(self, unsigned long long writes, unsigned long long dispatched, long long now_ns):
        return streaming_goes_on(&self.streaming, writes, dispatched, now_ns)

    def peers_stream(self):
        return peers_stream(&self.streaming)
