# The submission entry of each kind of operation: io_uring_enter(2)'s struct io_uring_sqe.
# The entry must be fresh (zeroed); the receive buffers' ring must be registered by then.
# Only the loop's thread may call this.

cdef void fill_entry(io_uring_sqe *sqe, Operation *operation) noexcept:
    """Write down what is asked, and the operation's address as what names its completions."""
    sqe.fd = operation.fd
    sqe.user_data = <uint64_t><size_t>operation
    if operation.kind == RECEIVE_MULTISHOT:
        sqe.opcode = IORING_OP_RECV
        sqe.ioprio = IORING_RECV_MULTISHOT
        sqe.flags = IOSQE_BUFFER_SELECT
        sqe.buf_group = BUFFER_GROUP
    elif operation.kind == SEND or operation.kind == SEND_QUIETLY:
        sqe.opcode = IORING_OP_SEND
        sqe.addr = <uint64_t><size_t>operation.address
        sqe.len = operation.length
        # It is over when io_uring_enter returns, one way or the other.
        sqe.msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT
        if operation.kind == SEND_QUIETLY:
            # A short send counts as a failure, which is not skipped.
            sqe.msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL
            sqe.flags = IOSQE_CQE_SKIP_SUCCESS
    elif operation.kind == SEND_GATHERED:
        sqe.opcode = IORING_OP_SENDMSG
        sqe.addr = <uint64_t><size_t>operation.address
        sqe.len = 1
        sqe.msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT
    else:
        sqe.opcode = IORING_OP_POLL_ADD
        sqe.poll32_events = operation.events       # little endian: no half words to swap
        if operation.kind != POLL:
            sqe.len = IORING_POLL_ADD_MULTI
