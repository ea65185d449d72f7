# What engines on completions share: completions collected but not yet dispatched, and the
# provided buffers that receives were answered in.
# Completions are copied out first and acted upon after: a callback may submit, cancel, stop the
# loop or raise, and what is left stays collected for the next turn.
# Only the loop's thread may touch it.

cdef enum:
    COALESCED_BYTES_MAX = 262144      # of one socket's completions handed out as one piece
    DISPATCHED_BYTES_MAX = 49152      # of bulk, once it has made something ready

cdef struct Completion:
    Operation *operation
    int result
    unsigned int flags


@cython.nonecheck(False)
cdef class CollectingEngine(Engine):
    """Keeps completions, dispatches them, and reads what receives brought."""

    cdef ProvidedBuffers buffers
    cdef SpareBytes spare
    cdef Completion *collected            # told by the kernel, not yet dispatched
    cdef size_t collected_head
    cdef size_t collected_tail
    cdef size_t collected_capacity

    cdef void take_back_bytes(self, data) noexcept:
        spare_bytes_offer(&self.spare, data)

    cdef void free_collected(self) noexcept:
        spare_bytes_free(&self.spare)
        buffers_free(&self.buffers)
        free(self.collected)
        self.collected = NULL
        self.collected_head = self.collected_tail = self.collected_capacity = 0

    cdef int keep_collected(self, Operation *operation, int result,
                            unsigned int flags) except -1:
        cdef Completion *collected
        cdef size_t capacity
        if self.collected_tail == self.collected_capacity:
            capacity = 256 if self.collected_capacity == 0 else self.collected_capacity * 2
            collected = <Completion *>realloc(self.collected, capacity * sizeof(Completion))
            if collected == NULL:
                raise MemoryError
            self.collected = collected
            self.collected_capacity = capacity
        self.collected[self.collected_tail].operation = operation
        self.collected[self.collected_tail].result = result
        self.collected[self.collected_tail].flags = flags
        self.collected_tail += 1
        self.collected_ever += 1
        return 0

    cdef inline void rewind_collected(self) noexcept:
        """Use the room of what was dispatched again. Not while anything is being dispatched."""
        cdef size_t length = self.collected_tail - self.collected_head
        if length:
            if self.collected_head < self.collected_capacity // 2:
                return
            memmove(self.collected, self.collected + self.collected_head,
                    length * sizeof(Completion))
        self.collected_head = 0
        self.collected_tail = length

    cdef int pending_completions(self) noexcept:
        return self.collected_head != self.collected_tail

    cdef int dispatch(self, ReadyQueue *ready) except -1:
        cdef size_t end = self.collected_tail
        cdef size_t ready_before = 0 if ready == NULL else ready_queue_length(ready)
        cdef Completion completion
        self.ready = ready
        self.bulk_dispatched = 0
        self.draining_receives = 0
        self.has_drained = False
        # A callback may raise KeyboardInterrupt: what is left stays collected for the next turn.
        while self.collected_head < end:
            if (self.bulk_dispatched >= DISPATCHED_BYTES_MAX and ready != NULL
                    and (ready_queue_length(ready) > ready_before or self.has_drained)):
                break
            completion = self.collected[self.collected_head]
            self.collected_head += 1
            self.dispatched = self.collected_ever - (self.collected_tail - self.collected_head)
            if completion.flags & IORING_CQE_F_MORE:
                completion.operation.on_completion(completion.operation, completion.result,
                                                   completion.flags)
            else:
                self.finish(completion.operation, completion.result, completion.flags)
        if self.buffers.recycled:
            buffers_publish(&self.buffers)
        return 0

    @cython.final
    cdef inline bint all_fill(self) noexcept:
        """Whether nothing is to be dispatched but to those who fill their buffers."""
        cdef size_t index
        for index in range(self.collected_head, self.collected_tail):
            if not self.collected[index].operation.fills:
                return False
        return True

    cdef int finish(self, Operation *operation, int result, unsigned int flags) except -1:
        """The terminal completion: the operation is idle again and may be submitted anew."""
        cdef PyObject *owner = operation.owner
        cdef bint internal = operation.internal
        operation.state = OPERATION_IDLE
        if internal:
            return operation.on_completion(operation, result, flags)
        self.in_flight -= 1
        try:
            operation.on_completion(operation, result, flags)
        finally:
            Py_DECREF(<object>owner)      # reclaim(), but the operation may be lent again
        return 0

    cdef Py_ssize_t received_bytes(self, Operation *operation, int result,
                                   unsigned int flags) noexcept:
        return self.count_received(operation, result, flags)

    @cython.final
    cdef inline Py_ssize_t count_received(self, Operation *operation, int result,
                                          unsigned int flags) noexcept:
        cdef size_t index = self.collected_head
        cdef Py_ssize_t total = result
        cdef Completion *completion
        # TCP's completions of one socket stand side by side: hand them out as one piece.
        while (index < self.collected_tail and total < COALESCED_BYTES_MAX
               and flags & IORING_CQE_F_MORE):
            completion = &self.collected[index]
            if (completion.operation != operation or completion.result <= 0
                    or not completion.flags & IORING_CQE_F_MORE):
                break
            total += completion.result
            index += 1
        return total

    cdef object take_received(self, Operation *operation, int result, unsigned int flags):
        cdef Py_ssize_t total = self.count_received(operation, result, flags)
        data = spare_bytes_take(&self.spare, total)
        self.copy_pieces(PyBytes_AS_STRING(data), total, result, flags)
        return data

    cdef Py_ssize_t copy_received(self, Operation *operation, char *target, Py_ssize_t room,
                                  int result, unsigned int flags) noexcept:
        cdef Py_ssize_t total = self.count_received(operation, result, flags)
        if total > room:
            return 0
        self.copy_pieces(target, total, result, flags)
        return total

    @cython.final
    cdef inline void copy_pieces(self, char *target, Py_ssize_t total, int result,
                          unsigned int flags) noexcept:
        """Copy `total` bytes: of this completion and as many of the next ones as that takes."""
        cdef char *end = target + total
        cdef Completion *completion
        self.copy_piece(&target, result, flags)
        while target != end:
            completion = &self.collected[self.collected_head]
            self.copy_piece(&target, completion.result, completion.flags)
            self.collected_head += 1

    @cython.final
    cdef inline void copy_piece(self, char **target, int length, unsigned int flags) noexcept:
        cdef int buffer_id = flags >> IORING_CQE_BUFFER_SHIFT
        # Not memcpy: of one whose lengths a profile has gcc makes `rep movsq`, which takes longer.
        memmove(target[0], buffer_address(&self.buffers, buffer_id), length)
        target[0] += length
        buffer_recycle(&self.buffers, buffer_id)

    cdef int drop_received(self, unsigned int flags) except -1:
        if flags & IORING_CQE_F_BUFFER:
            buffer_recycle(&self.buffers, flags >> IORING_CQE_BUFFER_SHIFT)
        return 0

    cdef int provide_buffers(self) except -1:
        """Hand a new ring of buffers every one that holds nothing still to be dispatched."""
        cdef char held[BUFFERS_MAX]
        cdef size_t index
        cdef int buffer_id
        cdef unsigned int flags
        io_uring_buf_ring_init(self.buffers.ring)
        if self.buffers.count == 0:
            buffers_grow(&self.buffers)
            return 0
        memset(held, 0, sizeof(held))
        for index in range(self.collected_head, self.collected_tail):
            flags = self.collected[index].flags
            if flags & IORING_CQE_F_BUFFER:
                held[flags >> IORING_CQE_BUFFER_SHIFT] = 1
        for buffer_id in range(self.buffers.count):
            if not held[buffer_id]:
                buffer_recycle(&self.buffers, buffer_id)
        buffers_publish(&self.buffers)
        return 0

    cdef int more_receive_buffers(self) except -1:
        buffers_publish(&self.buffers)
        buffers_grow(&self.buffers)
        return 0
