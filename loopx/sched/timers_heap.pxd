# The timers: a heap of pointers to Timer, which its owner embeds (intrusive). Each has four
# children: they share a line of the cache or two, and a heap is half as deep as with two.
# Only the loop's thread may touch it. Cancelling is O(log n) and leaves no garbage behind,
# because a timer knows its place. Equal times leave in the order in which they were added.

from libc.math cimport INFINITY
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, realloc


cdef enum:
    TIMER_CHILDREN = 4


cdef struct Timer:
    double when          # seconds of the loop's clock
    uint64_t sequence    # written by the heap: breaks ties first in, first out
    ssize_t place        # index in the heap; -1 when it is in none. Written by the heap
    void *owner          # whoever embeds it


cdef struct TimerPlace:
    double when          # of its timer: comparing reads no timer, which after a wait is in no cache
    Timer *timer


cdef struct TimersHeap:
    TimerPlace *places
    ssize_t length
    ssize_t capacity
    uint64_t next_sequence


cdef inline bint timer_before(TimerPlace *left, TimerPlace *right) noexcept nogil:
    if left.when != right.when:
        return left.when < right.when
    return left.timer.sequence < right.timer.sequence


cdef inline void timers_heap_put(TimersHeap *heap, ssize_t place, TimerPlace entry) noexcept nogil:
    heap.places[place] = entry
    entry.timer.place = place


cdef inline void timers_heap_sift_up(TimersHeap *heap, ssize_t place,
                                     TimerPlace entry) noexcept nogil:
    cdef ssize_t parent
    while place > 0:
        parent = (place - 1) // TIMER_CHILDREN
        if not timer_before(&entry, &heap.places[parent]):
            break
        timers_heap_put(heap, place, heap.places[parent])
        place = parent
    timers_heap_put(heap, place, entry)


cdef inline void timers_heap_sift_down(TimersHeap *heap, ssize_t place,
                                       TimerPlace entry) noexcept nogil:
    cdef ssize_t child, end, earliest
    while True:
        earliest = TIMER_CHILDREN * place + 1
        if earliest >= heap.length:
            break
        end = min(earliest + TIMER_CHILDREN, heap.length)
        for child in range(earliest + 1, end):
            if timer_before(&heap.places[child], &heap.places[earliest]):
                earliest = child
        if not timer_before(&heap.places[earliest], &entry):
            break
        timers_heap_put(heap, place, heap.places[earliest])
        place = earliest
    timers_heap_put(heap, place, entry)


cdef inline int timers_heap_add(TimersHeap *heap, Timer *timer) noexcept nogil:
    """Return -1 when memory is short; the heap is then unchanged."""
    cdef TimerPlace *places
    cdef TimerPlace entry
    cdef ssize_t capacity
    if heap.length == heap.capacity:
        capacity = 16 if heap.capacity == 0 else heap.capacity * 2
        places = <TimerPlace *>realloc(heap.places, capacity * sizeof(TimerPlace))
        if places == NULL:
            return -1
        heap.places = places
        heap.capacity = capacity
    timer.sequence = heap.next_sequence
    heap.next_sequence += 1
    heap.length += 1
    entry.when = timer.when if timer.when == timer.when else -INFINITY     # no number: now
    entry.timer = timer
    timers_heap_sift_up(heap, heap.length - 1, entry)
    return 0


cdef inline void timers_heap_remove(TimersHeap *heap, Timer *timer) noexcept nogil:
    """Take a timer out, wherever it is. Nothing happens when it is in no heap."""
    cdef ssize_t place = timer.place
    cdef TimerPlace last
    if place < 0:
        return
    timer.place = -1
    heap.length -= 1
    if place == heap.length:
        return
    last = heap.places[heap.length]
    if place > 0 and timer_before(&last, &heap.places[(place - 1) // TIMER_CHILDREN]):
        timers_heap_sift_up(heap, place, last)
    else:
        timers_heap_sift_down(heap, place, last)


cdef inline Timer *timers_heap_first(TimersHeap *heap) noexcept nogil:
    """The earliest timer, or NULL."""
    return heap.places[0].timer if heap.length else NULL


cdef inline double timers_heap_when(TimersHeap *heap) noexcept nogil:
    """When the earliest is due; infinity if there is none."""
    return heap.places[0].when if heap.length else INFINITY


cdef inline bint timers_heap_has_two_before(TimersHeap *heap, double when) noexcept nogil:
    """Whether another timer than the earliest is due before `when`, too."""
    cdef ssize_t child
    for child in range(1, min(TIMER_CHILDREN + 1, heap.length)):
        if heap.places[child].when < when:
            return True
    return False


cdef inline void timers_heap_free(TimersHeap *heap) noexcept nogil:
    free(heap.places)
    heap.places = NULL
    heap.length = heap.capacity = 0
