# Provided buffers: receive buffers that the kernel picks when data is there, so that an idle
# connection pins none. Only the loop's thread may touch them. Kernel 5.19 and newer.
# The memory belongs to the engine and outlives a ring; a new ring is given all of it again.

cdef enum:
    BUFFER_BYTES = 8192
    BUFFERS_PER_CHUNK = 64
    BUFFER_CHUNKS_MAX = 16
    BUFFERS_MAX = 1024          # the product; a power of two, as the kernel's ring wants it
    BUFFER_GROUP = 1

cdef struct ProvidedBuffers:
    io_uring_buf_ring *ring                             # NULL until a ring registered it
    char *chunks[BUFFER_CHUNKS_MAX]      # BUFFERS_PER_CHUNK buffers each
    int count                                           # buffers there are
    int recycled                                        # added but not yet published


cdef inline char *buffer_address(ProvidedBuffers *buffers, int buffer_id) noexcept nogil:
    return (buffers.chunks[buffer_id // BUFFERS_PER_CHUNK]
            + (buffer_id % BUFFERS_PER_CHUNK) * BUFFER_BYTES)


cdef inline void buffer_recycle(ProvidedBuffers *buffers, int buffer_id) noexcept nogil:
    """Give a buffer back; the kernel sees it after buffers_publish."""
    if buffers.ring == NULL:
        return       # between two rings: the next one is given every buffer
    io_uring_buf_ring_add(buffers.ring, buffer_address(buffers, buffer_id), BUFFER_BYTES,
                          <unsigned short>buffer_id, BUFFERS_MAX - 1, buffers.recycled)
    buffers.recycled += 1


cdef inline void buffers_publish(ProvidedBuffers *buffers) noexcept nogil:
    if buffers.recycled:
        io_uring_buf_ring_advance(buffers.ring, buffers.recycled)
        buffers.recycled = 0


cdef int buffers_grow(ProvidedBuffers *buffers) except -1:
    """Provide another chunk. Returns 0 when the bound is reached."""
    cdef int buffer_id
    cdef char *chunk
    if buffers.count == BUFFERS_MAX:
        return 0
    chunk = <char *>malloc(BUFFERS_PER_CHUNK * BUFFER_BYTES)
    if chunk == NULL:
        raise MemoryError
    buffers.chunks[buffers.count // BUFFERS_PER_CHUNK] = chunk
    buffers.count += BUFFERS_PER_CHUNK
    for buffer_id in range(buffers.count - BUFFERS_PER_CHUNK, buffers.count):
        buffer_recycle(buffers, buffer_id)
    buffers_publish(buffers)
    return 1


cdef void buffers_free(ProvidedBuffers *buffers) noexcept:
    cdef int chunk
    for chunk in range(buffers.count // BUFFERS_PER_CHUNK):
        free(buffers.chunks[chunk])
    buffers.count = buffers.recycled = 0
    buffers.ring = NULL
