# An operation: what the kernel is asked to do, and whom to tell. Its owner embeds the struct.
# Only the loop's thread may touch it. No engine's type appears here.
#
# Life of an operation
#   idle       -> submitted   engine.submit while the loop runs; the kernel holds a reference
#   idle       -> queued      engine.submit while it does not run; submitted when it does
#   submitted  -> queued      the loop stops running, and takes back what is in flight; or a
#                             POLL has to be made anew (io/polling_engine.pxi)
#   submitted  -> cancelling  engine.cancel; a completion will still come
#   queued     -> cancelling  engine.cancel; the engine makes up the completion
#   submitted, cancelling -> idle   at the terminal completion, before on_completion is called
#   idle       -> by owner    its owner makes the system call itself; idle again
#                             when it returns. Other threads keep off meanwhile.
# While not idle, the owner and what `address` points to must not go away. lend_to_kernel and
# reclaim are the only two functions that count references for this.

ctypedef int (*CompletionFunction)(Operation *operation, int result,
                                   unsigned int flags) except -1

# Whether `fd` is still what it was when the operation was first submitted.
ctypedef bint (*DescriptorCheck)(Operation *operation) except -1

cdef enum OperationKind:
    POLL                 # wait once until `events` hold; result: the events that do
    POLL_ON              # the engine's: a POLL once more, see io/polling_engine.pxi
    POLL_MULTISHOT       # a completion at every change until cancelled, or until
    #                      completions overflow
    RECEIVE_MULTISHOT    # receive into provided buffers until end of file, error or cancel
    SEND                 # send what there is room for of `length` bytes at `address`
    SEND_GATHERED        # the same of the pieces that a msghdr at `address` names
    SEND_QUIETLY         # as SEND, telling only of failure; see Engine.submit

cdef enum OperationState:
    OPERATION_IDLE
    OPERATION_QUEUED
    OPERATION_SUBMITTED
    OPERATION_CANCELLING
    OPERATION_BY_OWNER

cdef struct Operation:
    CompletionFunction on_completion
    DescriptorCheck descriptor_is_ours    # asked after a rest; NULL: nobody else can close it
    PyObject *owner          # borrowed while idle, counted while lent
    void *address
    unsigned int length      # bytes
    unsigned int events      # poll(2) events
    int fd
    unsigned char kind       # OperationKind; written by the owner while idle
    unsigned char state      # OperationState; written by the engine
    unsigned char internal   # the engine's or the loop's own: neither counted nor kept alive
    unsigned char fills      # a receive that fills its buffer, for so many short ones yet


cdef inline void operation_init(Operation *operation, object owner,
                                CompletionFunction on_completion, int fd) noexcept:
    memset(operation, 0, sizeof(Operation))
    operation.owner = <PyObject *>owner
    operation.on_completion = on_completion
    operation.fd = fd


cdef inline void lend_to_kernel(Operation *operation) noexcept:
    if not operation.internal:
        Py_INCREF(<object>operation.owner)


cdef inline void reclaim(Operation *operation) noexcept:
    """Give back lend_to_kernel's reference. The owner, and with it the operation, may go."""
    if not operation.internal:
        Py_DECREF(<object>operation.owner)


cdef struct OperationList:
    Operation **items
    size_t length
    size_t capacity


cdef int operation_list_reserve(OperationList *operations) except -1:
    """Make sure that the next operation_list_add cannot fail."""
    cdef Operation **items
    cdef size_t capacity
    if operations.length == operations.capacity:
        capacity = 16 if operations.capacity == 0 else operations.capacity * 2
        items = <Operation **>realloc(operations.items, capacity * sizeof(Operation *))
        if items == NULL:
            raise MemoryError
        operations.items = items
        operations.capacity = capacity
    return 0


cdef int operation_list_add(OperationList *operations, Operation *operation) except -1:
    operation_list_reserve(operations)
    operations.items[operations.length] = operation
    operations.length += 1
    return 0


cdef void operation_list_free(OperationList *operations) noexcept:
    free(operations.items)
    operations.items = NULL
    operations.length = operations.capacity = 0


cdef void operation_list_drop_first(OperationList *operations, size_t count) noexcept:
    if count:
        operations.length -= count
        memmove(operations.items, operations.items + count,
                operations.length * sizeof(Operation *))


cdef void operation_list_keep(OperationList *operations, int kind) noexcept:
    """Forget those of another kind."""
    cdef size_t index, kept = 0
    for index in range(operations.length):
        if operations.items[index].kind == kind:
            operations.items[kept] = operations.items[index]
            kept += 1
    operations.length = kept
