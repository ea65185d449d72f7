/*
 * A bare echo server on io_uring: the limit that a completion loop can reach on this machine.
 *
 * Single-threaded, one ring (SINGLE_ISSUER, DEFER_TASKRUN: Linux 6.1), one io_uring_enter a turn
 * that submits everything and waits. Two modes:
 *   multishot  multishot accept and receive into a ring of provided buffers: small messages;
 *   oneshot    multishot accept, one-shot receives of 256 KiB into the connection's own buffer.
 * A provided buffer belongs to the kernel until a receive completion hands it over, then to its
 * connection's queue, and goes back when its send has completed. It must not grow features:
 * whatever it does beyond echoing makes the limit that it marks a lie.
 *
 * Usage: echo_uring multishot|oneshot
 */
#include "limits.h"

#include <liburing.h>
#include <stdbool.h>
#include <sys/mman.h>

enum {
    SUBMISSION_ENTRIES = 4096,
    COMPLETION_ENTRIES = 16384,
    BUFFER_COUNT = 1024, /* a power of two, as buffer rings require */
    BUFFER_BYTES = 16 * 1024,
    BUFFER_GROUP = 0,
    NO_BUFFER = -1,
};

/* The low bits of user_data; the rest is the connection's address (malloc aligns to 16 bytes). */
enum operation { OPERATION_ACCEPT, OPERATION_RECEIVE, OPERATION_SEND, OPERATION_MASK = 7 };

struct connection {
    int fd;
    bool receiving;
    bool sending;
    bool closing;
    int queue_head; /* buffers to send, in order of arrival; linked through slots[].next */
    int queue_tail;
    uint32_t sent_bytes; /* of the buffer at the head (multishot) or of `bulk` (oneshot) */
    uint32_t bulk_bytes;
    char *bulk; /* oneshot mode only */
    struct connection *next_starving;
};

static struct {
    uint32_t bytes;
    int next;
} slots[BUFFER_COUNT];

static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static char *buffers;
static struct connection *starving; /* their receive ended with ENOBUFS */
static bool oneshot;
static int listening_fd;

static struct io_uring_sqe *get_sqe(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    if (sqe == NULL) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
        if (sqe == NULL)
            die("io_uring_get_sqe", EBUSY);
    }
    return sqe;
}

static void tag(struct io_uring_sqe *sqe, struct connection *connection, enum operation operation)
{
    sqe->user_data = (uintptr_t)connection | operation;
}

static void arm_accept(void)
{
    struct io_uring_sqe *sqe = get_sqe();

    io_uring_prep_multishot_accept(sqe, listening_fd, NULL, NULL, SOCK_CLOEXEC);
    tag(sqe, NULL, OPERATION_ACCEPT);
}

static void arm_receive(struct connection *connection)
{
    struct io_uring_sqe *sqe = get_sqe();

    if (oneshot) {
        io_uring_prep_recv(sqe, connection->fd, connection->bulk, BULK_BUFFER_BYTES, 0);
    } else {
        io_uring_prep_recv_multishot(sqe, connection->fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = BUFFER_GROUP;
    }
    tag(sqe, connection, OPERATION_RECEIVE);
    connection->receiving = true;
}

static void arm_send(struct connection *connection)
{
    struct io_uring_sqe *sqe = get_sqe();
    const char *data = connection->bulk;
    uint32_t bytes = connection->bulk_bytes;

    if (!oneshot) {
        data = buffers + (size_t)connection->queue_head * BUFFER_BYTES;
        bytes = slots[connection->queue_head].bytes;
    }
    io_uring_prep_send(sqe, connection->fd, data + connection->sent_bytes,
                       bytes - connection->sent_bytes, MSG_NOSIGNAL | MSG_WAITALL);
    tag(sqe, connection, OPERATION_SEND);
    connection->sending = true;
}

static void recycle(int buffer_id)
{
    io_uring_buf_ring_add(buffer_ring, buffers + (size_t)buffer_id * BUFFER_BYTES, BUFFER_BYTES,
                          (unsigned short)buffer_id, io_uring_buf_ring_mask(BUFFER_COUNT), 0);
    io_uring_buf_ring_advance(buffer_ring, 1);
    if (starving != NULL) {
        struct connection *connection = starving;

        starving = connection->next_starving;
        arm_receive(connection);
    }
}

static void pop_buffer(struct connection *connection)
{
    int buffer_id = connection->queue_head;

    connection->queue_head = slots[buffer_id].next;
    recycle(buffer_id);
}

static void drop_if_quiet(struct connection *connection)
{
    if (!connection->closing || connection->receiving || connection->sending)
        return;
    while (connection->queue_head != NO_BUFFER)
        pop_buffer(connection);
    close(connection->fd);
    free(connection->bulk);
    free(connection);
}

static void on_accept(struct io_uring_cqe *cqe)
{
    struct connection *connection;

    if (!(cqe->flags & IORING_CQE_F_MORE))
        arm_accept();
    if (cqe->res < 0)
        die("accept", -cqe->res);
    connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        die("calloc", ENOMEM);
    connection->fd = cqe->res;
    connection->queue_head = NO_BUFFER;
    if (oneshot && (connection->bulk = malloc(BULK_BUFFER_BYTES)) == NULL)
        die("malloc", ENOMEM);
    arm_receive(connection);
}

static void enqueue_buffer(struct connection *connection, int buffer_id, uint32_t bytes)
{
    slots[buffer_id].bytes = bytes;
    slots[buffer_id].next = NO_BUFFER;
    if (connection->queue_head == NO_BUFFER)
        connection->queue_head = buffer_id;
    else
        slots[connection->queue_tail].next = buffer_id;
    connection->queue_tail = buffer_id;
}

static void on_receive(struct connection *connection, struct io_uring_cqe *cqe)
{
    if (!(cqe->flags & IORING_CQE_F_MORE))
        connection->receiving = false;
    if (cqe->res == -ENOBUFS) {
        connection->next_starving = starving;
        starving = connection;
        connection->receiving = true; /* it will be armed again by recycle() */
        return;
    }
    if (cqe->res <= 0) {
        connection->closing = true;
        drop_if_quiet(connection);
        return;
    }
    if (oneshot) {
        connection->bulk_bytes = (uint32_t)cqe->res;
    } else {
        enqueue_buffer(connection, (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT),
                       (uint32_t)cqe->res);
        if (!connection->receiving)
            arm_receive(connection);
    }
    if (!connection->sending)
        arm_send(connection);
}

static void on_send(struct connection *connection, struct io_uring_cqe *cqe)
{
    uint32_t bytes = oneshot ? connection->bulk_bytes : slots[connection->queue_head].bytes;

    connection->sending = false;
    if (cqe->res < 0)
        connection->closing = true;
    if (connection->closing) {
        if (connection->receiving)
            shutdown(connection->fd, SHUT_RDWR); /* ends the receive in flight */
        drop_if_quiet(connection);
        return;
    }
    connection->sent_bytes += (uint32_t)cqe->res;
    if (connection->sent_bytes < bytes) {
        arm_send(connection);
        return;
    }
    connection->sent_bytes = 0;
    if (oneshot) {
        arm_receive(connection);
        return;
    }
    pop_buffer(connection);
    if (connection->queue_head != NO_BUFFER)
        arm_send(connection);
}

static void run_turn(void)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned count = 0;
    int result = io_uring_submit_and_wait(&ring, 1);

    if (result < 0 && result != -EINTR)
        die("io_uring_submit_and_wait", -result);
    io_uring_for_each_cqe(&ring, head, cqe) {
        uintptr_t address = cqe->user_data & ~(uintptr_t)OPERATION_MASK;
        struct connection *connection = (struct connection *)address;

        count++;
        switch ((enum operation)(cqe->user_data & OPERATION_MASK)) {
        case OPERATION_ACCEPT:
            on_accept(cqe);
            break;
        case OPERATION_RECEIVE:
            on_receive(connection, cqe);
            break;
        default:
            on_send(connection, cqe);
        }
    }
    io_uring_cq_advance(&ring, count);
}

static void *map_pages(size_t bytes)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);

    if (pages == MAP_FAILED)
        die("mmap", errno);
    return pages;
}

static void provide_buffers(void)
{
    struct io_uring_buf_reg registration = { .ring_entries = BUFFER_COUNT, .bgid = BUFFER_GROUP };
    int result;

    buffer_ring = map_pages(BUFFER_COUNT * sizeof(struct io_uring_buf));
    buffers = map_pages((size_t)BUFFER_COUNT * BUFFER_BYTES);
    registration.ring_addr = (uintptr_t)buffer_ring;
    result = io_uring_register_buf_ring(&ring, &registration, 0);
    if (result < 0)
        die("io_uring_register_buf_ring", -result);
    io_uring_buf_ring_init(buffer_ring);
    for (int i = 0; i < BUFFER_COUNT; i++)
        recycle(i);
}

int main(int argc, char **argv)
{
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
        .cq_entries = COMPLETION_ENTRIES,
    };
    int result;

    if (argc != 2 || (strcmp(argv[1], "multishot") != 0 && strcmp(argv[1], "oneshot") != 0)) {
        fprintf(stderr, "usage: %s multishot|oneshot\n", argv[0]);
        return 2;
    }
    oneshot = strcmp(argv[1], "oneshot") == 0;
    raise_descriptor_limit();
    result = io_uring_queue_init_params(SUBMISSION_ENTRIES, &ring, &parameters);
    if (result < 0)
        die("io_uring_queue_init_params", -result);
    if (!oneshot)
        provide_buffers();
    listening_fd = listen_on_loopback(0);
    arm_accept();
    announce_ready(listening_fd);
    for (;;)
        run_turn();
}
