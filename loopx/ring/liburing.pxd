# What the data plane uses of liburing's public header: the ring's structures and one system call.
# Only ring.pxd and io/ring_engine.pxi may cimport this file; nothing above names a liburing type.
# Numbers that the header of liburing 2.3 (Debian 12) lacks are declared by value.

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass

cdef extern from "liburing.h" nogil:
    cdef struct io_uring_sqe:
        uint8_t opcode
        uint8_t flags
        uint16_t ioprio
        int32_t fd
        uint64_t off
        uint64_t addr
        uint32_t len
        uint32_t msg_flags
        uint32_t poll32_events
        uint32_t cancel_flags
        uint64_t user_data
        uint16_t buf_group

    cdef struct io_uring_cqe:
        uint64_t user_data
        int32_t res
        uint32_t flags

    cdef struct io_uring_sq:
        unsigned int *khead
        unsigned int *ktail
        unsigned int *kflags
        unsigned int *array
        io_uring_sqe *sqes
        unsigned int ring_mask
        unsigned int ring_entries

    cdef struct io_uring_cq:
        unsigned int *khead
        unsigned int *ktail
        io_uring_cqe *cqes
        unsigned int ring_mask

    cdef struct io_uring:
        io_uring_sq sq
        io_uring_cq cq
        unsigned int features

    cdef struct io_uring_buf_ring:
        pass

    cdef struct __kernel_timespec:
        long long tv_sec
        long long tv_nsec

    cdef struct io_uring_getevents_arg:
        uint64_t sigmask
        uint32_t sigmask_sz
        uint64_t ts

    # io_uring_enter(2); returns the number of submissions taken, or minus errno.
    int io_uring_enter2(unsigned int fd, unsigned int to_submit, unsigned int min_complete,
                        unsigned int flags, sigset_t *argument, size_t argument_bytes)
    void io_uring_buf_ring_init(io_uring_buf_ring *ring)
    void io_uring_buf_ring_add(io_uring_buf_ring *ring, void *address, unsigned int length,
                               unsigned short buffer_id, int mask, int offset)
    void io_uring_buf_ring_advance(io_uring_buf_ring *ring, int count)

    enum:
        IORING_OP_ASYNC_CANCEL
        IORING_OP_POLL_ADD
        IORING_OP_RECV
        IORING_OP_SEND
        IORING_OP_SENDMSG
        IORING_ENTER_GETEVENTS
        IORING_ENTER_EXT_ARG
        IORING_SQ_CQ_OVERFLOW
        IORING_SQ_TASKRUN
        IORING_CQE_F_BUFFER
        IORING_CQE_F_MORE
        IORING_CQE_BUFFER_SHIFT
        IORING_POLL_ADD_MULTI
        IORING_RECV_MULTISHOT
        IORING_ASYNC_CANCEL_ALL
        IORING_ASYNC_CANCEL_ANY
        IOSQE_BUFFER_SELECT
        IOSQE_CQE_SKIP_SUCCESS
