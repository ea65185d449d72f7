/*
 * A bare echo server on epoll: the limit that a readiness loop can reach on this machine.
 *
 * Single-threaded. One level-triggered epoll instance, one read and one write per message, no
 * allocation per message. It owns nothing but its sockets and must not grow features: whatever it
 * does beyond echoing makes the limit that it marks a lie.
 *
 * Usage: echo_epoll [own]
 *
 * own: a buffer for each connection, which is echoed from a copy, as a BufferedProtocol has to. The
 * copy is always in the same place, which is quicker than where an object of its own would be.
 */
#include "epoll_server.h"

struct connection {
    int fd;
    size_t pending_bytes;  /* accepted from the peer, not yet taken by the kernel */
    size_t pending_offset; /* where the unsent part of `pending` begins */
    char *pending;         /* malloc'd only while a write is blocked, else NULL */
    char *receive_buffer;  /* malloc'd where each has its own */
};

static char shared_buffer[BULK_BUFFER_BYTES]; /* of all connections, or what theirs are copied to */
static int each_has_its_own;

static void drop(struct connection *connection)
{
    close(connection->fd);
    free(connection->pending);
    if (each_has_its_own)
        free(connection->receive_buffer);
    free(connection);
}

struct connection *connection_accepted(int fd)
{
    struct connection *connection = calloc(1, sizeof *connection);

    if (connection == NULL)
        die("calloc", ENOMEM);
    connection->fd = fd;
    connection->receive_buffer = each_has_its_own ? malloc(BULK_BUFFER_BYTES) : shared_buffer;
    if (connection->receive_buffer == NULL)
        die("malloc", ENOMEM);
    return connection;
}

/* The kernel took only a part: keep the rest and read nothing more until it is gone. */
static void keep_rest(struct connection *connection, const char *rest, size_t bytes)
{
    connection->pending = malloc(bytes);
    if (connection->pending == NULL)
        die("malloc", ENOMEM);
    memcpy(connection->pending, rest, bytes);
    connection->pending_bytes = bytes;
    connection->pending_offset = 0;
    watch(EPOLL_CTL_MOD, connection->fd, connection, EPOLLOUT);
}

static void on_readable(struct connection *connection)
{
    ssize_t received = recv(connection->fd, connection->receive_buffer, BULK_BUFFER_BYTES, 0);
    ssize_t sent;

    if (received < 0 && errno == EAGAIN)
        return;
    if (received <= 0) {
        drop(connection);
        return;
    }
    if (each_has_its_own)
        memcpy(shared_buffer, connection->receive_buffer, (size_t)received);
    sent = send(connection->fd, shared_buffer, (size_t)received, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN)
        sent = 0;
    if (sent < 0)
        drop(connection);
    else if (sent < received)
        keep_rest(connection, shared_buffer + sent, (size_t)(received - sent));
}

static void on_writable(struct connection *connection)
{
    ssize_t sent = send(connection->fd, connection->pending + connection->pending_offset,
                        connection->pending_bytes, MSG_NOSIGNAL);

    if (sent < 0) {
        if (errno != EAGAIN)
            drop(connection);
        return;
    }
    connection->pending_offset += (size_t)sent;
    connection->pending_bytes -= (size_t)sent;
    if (connection->pending_bytes == 0) {
        free(connection->pending);
        connection->pending = NULL;
        watch(EPOLL_CTL_MOD, connection->fd, connection, EPOLLIN);
    }
}

void connection_ready(struct connection *connection)
{
    if (connection->pending != NULL)
        on_writable(connection);
    else
        on_readable(connection);
}

int main(int argument_count, char **arguments)
{
    each_has_its_own = argument_count == 2 && strcmp(arguments[1], "own") == 0;
    if (argument_count != 1 && !each_has_its_own) {
        fprintf(stderr, "usage: %s [own]\n", arguments[0]);
        return 2;
    }
    serve();
}
