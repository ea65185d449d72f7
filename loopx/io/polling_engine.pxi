# Polls that wait although the peer is done sending.
# Of such a socket io_uring tells POLLRDHUP, whether a poll asks for it or not, unlike poll(2): one
# that waits for room, as the socket is full, ends at once, and so does the next, turn after turn.
# But one that goes on (multishot) tells of changes. So a poll that has ended for that alone is made
# again as one that goes on, and that is ended once its events hold.
# Only the loop's thread may touch it. It knows the operations, and nothing of the ring.

@cython.nonecheck(False)
cdef class PollingEngine(EnteringEngine):
    """Keeps from a poll's owner what it did not ask for."""

    cdef OperationList queued        # to be started by a wait, once the loop runs
    cdef list queued_owners          # their references, item by item
    cdef list satisfied              # (owner, address) of polls to be ended by a wait

    def __cinit__(self):
        self.queued_owners = []
        self.satisfied = []

    @cython.final
    cdef int queue(self, Operation *operation) except -1:
        operation_list_reserve(&self.queued)      # or the two lists could get out of step
        self.queued_owners.append(<object>operation.owner)
        operation_list_add(&self.queued, operation)
        operation.state = OPERATION_QUEUED
        return 0

    @cython.final
    cdef bint passes_over(self, Operation *operation, int *result, bint is_last) except -1:
        """Whether the completion of a POLL, or POLL_ON, is not for its owner."""
        if result[0] == POLLRDHUP and not operation.events & POLLRDHUP:
            if not is_last:
                return True
            if operation.state == OPERATION_SUBMITTED:
                self.queue(operation)
                reclaim(operation)
                operation.kind = POLL_ON
                operation.length = 0
                return True
        if operation.kind == POLL:
            return False
        if is_last:
            operation.kind = POLL
            if operation.length:
                result[0] = operation.length       # what it was ended for
            return False
        if operation.length == 0:
            self.satisfied.append((<object>operation.owner, <size_t>operation))
            operation.length = result[0]
        return True

    @cython.final
    cdef int end_satisfied(self) except -1:
        """Cancel polls that go on, once each; they have ended by themselves where completions
        overflowed, and may have been made anew: also while cancel() made room for its entry."""
        cdef Operation *operation
        while self.satisfied:
            self.flush()                           # so there is room
            operation = <Operation *><size_t>self.satisfied[0][1]
            if operation.kind == POLL_ON and operation.length:
                self.cancel(operation)
            del self.satisfied[0]
        return 0
