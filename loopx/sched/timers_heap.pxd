# The timers: a binary heap of pointers to Timer, which its owner embeds (intrusive).
# Only the loop's thread may touch it. Cancelling is O(log n) and leaves no garbage behind,
# because a timer knows its place. Equal times leave in the order in which they were added.

from libc.stdlib cimport free, realloc

from libc.stdint cimport uint64_t


cdef struct Timer:
    double when          # seconds of the loop's clock
    uint64_t sequence    # written by the heap: breaks ties first in, first out
    ssize_t place        # index in the heap; -1 when it is in none. Written by the heap
    void *owner          # whoever embeds it


cdef struct TimersHeap:
    Timer **timers
    ssize_t length
    ssize_t capacity
    uint64_t next_sequence


cdef inline bint timer_before(Timer *left, Timer *right) noexcept nogil:
    if left.when != right.when:
        return left.when < right.when
    return left.sequence < right.sequence


cdef inline void timers_heap_put(TimersHeap *heap, ssize_t place, Timer *timer) noexcept nogil:
    heap.timers[place] = timer
    timer.place = place


cdef inline void timers_heap_sift_up(TimersHeap *heap, ssize_t place, Timer *timer) noexcept nogil:
    cdef ssize_t parent
    while place > 0:
        parent = (place - 1) // 2
        if not timer_before(timer, heap.timers[parent]):
            break
        timers_heap_put(heap, place, heap.timers[parent])
        place = parent
    timers_heap_put(heap, place, timer)


cdef inline void timers_heap_sift_down(TimersHeap *heap, ssize_t place,
                                       Timer *timer) noexcept nogil:
    cdef ssize_t child
    while True:
        child = 2 * place + 1
        if child >= heap.length:
            break
        if child + 1 < heap.length and timer_before(heap.timers[child + 1], heap.timers[child]):
            child += 1
        if not timer_before(heap.timers[child], timer):
            break
        timers_heap_put(heap, place, heap.timers[child])
        place = child
    timers_heap_put(heap, place, timer)


cdef inline int timers_heap_add(TimersHeap *heap, Timer *timer) noexcept nogil:
    """Return -1 when memory is short; the heap is then unchanged."""
    cdef Timer **timers
    cdef ssize_t capacity
    if heap.length == heap.capacity:
        capacity = 16 if heap.capacity == 0 else heap.capacity * 2
        timers = <Timer **>realloc(heap.timers, capacity * sizeof(Timer *))
        if timers == NULL:
            return -1
        heap.timers = timers
        heap.capacity = capacity
    timer.sequence = heap.next_sequence
    heap.next_sequence += 1
    heap.length += 1
    timers_heap_sift_up(heap, heap.length - 1, timer)
    return 0


cdef inline void timers_heap_remove(TimersHeap *heap, Timer *timer) noexcept nogil:
    """Take a timer out, wherever it is. Nothing happens when it is in no heap."""
    cdef ssize_t place = timer.place
    cdef Timer *last
    if place < 0:
        return
    timer.place = -1
    heap.length -= 1
    if place == heap.length:
        return
    last = heap.timers[heap.length]
    if place > 0 and timer_before(last, heap.timers[(place - 1) // 2]):
        timers_heap_sift_up(heap, place, last)
    else:
        timers_heap_sift_down(heap, place, last)


cdef inline Timer *timers_heap_first(TimersHeap *heap) noexcept nogil:
    """The earliest timer, or NULL."""
    return heap.timers[0] if heap.length else NULL


cdef inline bint timers_heap_has_two_before(TimersHeap *heap, double when) noexcept nogil:
    """Whether another timer than the earliest is due before `when`, too."""
    return (heap.length > 1 and heap.timers[1].when < when
            or heap.length > 2 and heap.timers[2].when < when)


cdef inline void timers_heap_free(TimersHeap *heap) noexcept nogil:
    free(heap.timers)
    heap.timers = NULL
    heap.length = heap.capacity = 0
