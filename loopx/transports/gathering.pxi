# Pieces that leave as they lie, by one call that names them: sendmsg(2), writev(2). Few bytes are
# quicker copied into one piece.
# Only the loop's thread may touch it. Whoever gathers keeps the pieces until the call is over.

cdef enum:
    GATHERED_PIECES_MAX = 31     # of a call
    GATHERED_BYTES_MIN = 16384
    GATHERED_BYTES_EACH = 4096   # on average
    JOINED_BYTES_MAX = 65536
    CALL_BYTES_MAX = 1 << 30     # an operation's length is 32 bits
    # A call on a stream socket sends no more: eight segments of the loopback interface (65,483
    # bytes, by IPv6 65,464). After sixteen the kernel works off, within the call, what was
    # acknowledged meanwhile, and where the congestion control paces (BBR) it waits for a timer
    # then; a ninth that is short costs the same.
    SEND_BYTES_MAX = 8 * 65408

cdef struct Gather:
    msghdr message               # of `parts`
    iovec parts[GATHERED_PIECES_MAX]
    Py_ssize_t length            # bytes, of all of them
    Py_ssize_t bytes_max         # and at most


cdef void gather_begin(Gather *gather, bytes first, Py_ssize_t offset,
                       Py_ssize_t bytes_max) noexcept:
    """Name what is left of a piece."""
    memset(&gather.message, 0, sizeof(msghdr))
    gather.message.msg_iov = gather.parts
    gather.message.msg_iovlen = 1
    gather.bytes_max = bytes_max
    gather.length = min(PyBytes_GET_SIZE(first) - offset, bytes_max)
    gather.parts[0].iov_base = PyBytes_AS_STRING(first) + offset
    gather.parts[0].iov_len = gather.length


cdef bint gather_more(Gather *gather, list pieces) except -1:
    """Name those that follow as well, as many as one call takes; False if they are small."""
    cdef Py_ssize_t count = 1, length
    for piece in pieces:
        length = min(PyBytes_GET_SIZE(piece), gather.bytes_max - gather.length)
        if count == GATHERED_PIECES_MAX or length == 0:
            break
        gather.parts[count].iov_base = PyBytes_AS_STRING(piece)
        gather.parts[count].iov_len = length
        gather.length += length
        count += 1
    if count == 1 or gather.length < max(GATHERED_BYTES_MIN, count * GATHERED_BYTES_EACH):
        gather.length = gather.parts[0].iov_len
        return False
    gather.message.msg_iovlen = count
    return True


cdef bytes join_small(bytes first, list pieces):
    """One piece of the first and as many others as are small together, which leave the list."""
    cdef Py_ssize_t total = PyBytes_GET_SIZE(first), count = 0
    for piece in pieces:
        total += PyBytes_GET_SIZE(piece)
        if total > JOINED_BYTES_MAX:
            break
        count += 1
    if count == 0:
        return first
    joined = b"".join([first, *pieces[:count]])
    del pieces[:count]
    return joined
