# The ready queue: a growing circular array of pointers, first in, first out.
# Only the loop's thread may touch it, or, with a GIL, whoever has that. Holds pointers; whoever
# pushes owns what they mean.
# Invariant: tail - head is the length, and never more than capacity (0 or a power of two). Memory
# is asked for by the first push: many loops are made that never run a callback.

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy


cdef struct ReadyQueue:
    void **slots
    size_t capacity
    size_t first_capacity
    size_t head      # next to pop; runs freely, masked on use
    size_t tail      # next to fill


cdef inline void ready_queue_init(ReadyQueue *queue, size_t first_capacity) noexcept nogil:
    """`first_capacity` is a power of two."""
    queue.slots = NULL
    queue.capacity = queue.head = queue.tail = 0
    queue.first_capacity = first_capacity


cdef inline void ready_queue_free(ReadyQueue *queue) noexcept nogil:
    free(queue.slots)
    queue.slots = NULL
    queue.capacity = queue.head = queue.tail = 0


cdef inline size_t ready_queue_length(ReadyQueue *queue) noexcept nogil:
    return queue.tail - queue.head


cdef inline int ready_queue_grow(ReadyQueue *queue) noexcept nogil:
    cdef size_t capacity = queue.capacity * 2 if queue.capacity else queue.first_capacity
    cdef size_t first = queue.head & (queue.capacity - 1)
    cdef size_t until_end = queue.capacity - first
    cdef void **slots = <void **>malloc(capacity * sizeof(void *))
    if slots == NULL:
        return -1
    if queue.slots != NULL:
        # Full: the oldest entries run from `first` to the array's end and go on at its start.
        memcpy(slots, queue.slots + first, until_end * sizeof(void *))
        memcpy(slots + until_end, queue.slots, first * sizeof(void *))
        free(queue.slots)
    queue.slots = slots
    queue.tail -= queue.head
    queue.head = 0
    queue.capacity = capacity
    return 0


cdef inline int ready_queue_make_room(ReadyQueue *queue, size_t count) noexcept nogil:
    """Make sure that the next `count` pushes cannot fail; -1 when memory is short."""
    while queue.tail - queue.head + count > queue.capacity:
        if ready_queue_grow(queue) < 0:
            return -1
    return 0


cdef inline int ready_queue_push(ReadyQueue *queue, void *item) noexcept nogil:
    """Return -1 when memory is short; the queue is then unchanged."""
    if queue.tail - queue.head == queue.capacity and ready_queue_grow(queue) < 0:
        return -1
    queue.slots[queue.tail & (queue.capacity - 1)] = item
    queue.tail += 1
    return 0


cdef inline void *ready_queue_oldest(ReadyQueue *queue) noexcept nogil:
    """What the next pop returns. The queue must not be empty."""
    return queue.slots[queue.head & (queue.capacity - 1)]


cdef inline void *ready_queue_newest(ReadyQueue *queue) noexcept nogil:
    """What was pushed last. The queue must not be empty."""
    return queue.slots[(queue.tail - 1) & (queue.capacity - 1)]


cdef inline void *ready_queue_pop(ReadyQueue *queue) noexcept nogil:
    """The oldest item, or NULL when the queue is empty."""
    cdef void *item
    if queue.head == queue.tail:
        return NULL
    item = queue.slots[queue.head & (queue.capacity - 1)]
    queue.head += 1
    return item
