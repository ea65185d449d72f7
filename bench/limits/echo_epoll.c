/*
 * A bare echo server on epoll: the limit that a readiness loop can reach on this machine.
 *
 * Single-threaded. One level-triggered epoll instance, one read and one write per message, no
 * allocation per message. It owns nothing but its sockets and must not grow features: whatever it
 * does beyond echoing makes the limit that it marks a lie.
 *
 * Usage: echo_epoll
 */
#include "limits.h"

#include <sys/epoll.h>

enum { EVENTS_PER_TURN = 512 };

struct connection {
    int fd;
    size_t pending_bytes;  /* accepted from the peer, not yet taken by the kernel */
    size_t pending_offset; /* where the unsent part of `pending` begins */
    char *pending;         /* malloc'd only while a write is blocked, else NULL */
};

static char receive_buffer[BULK_BUFFER_BYTES];

static void watch(int epoll_fd, int operation, struct connection *connection, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = connection };

    if (epoll_ctl(epoll_fd, operation, connection->fd, &event) != 0)
        die("epoll_ctl", errno);
}

static void drop(struct connection *connection)
{
    close(connection->fd);
    free(connection->pending);
    free(connection);
}

static void accept_all(int epoll_fd, int listening_fd)
{
    for (;;) {
        int fd = accept4(listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct connection *connection;

        if (fd < 0) {
            if (errno == EAGAIN)
                return;
            die("accept4", errno);
        }
        connection = calloc(1, sizeof *connection);
        if (connection == NULL)
            die("calloc", ENOMEM);
        connection->fd = fd;
        watch(epoll_fd, EPOLL_CTL_ADD, connection, EPOLLIN);
    }
}

/* The kernel took only a part: keep the rest and read nothing more until it is gone. */
static void keep_rest(int epoll_fd, struct connection *connection, const char *rest, size_t bytes)
{
    connection->pending = malloc(bytes);
    if (connection->pending == NULL)
        die("malloc", ENOMEM);
    memcpy(connection->pending, rest, bytes);
    connection->pending_bytes = bytes;
    connection->pending_offset = 0;
    watch(epoll_fd, EPOLL_CTL_MOD, connection, EPOLLOUT);
}

static void on_readable(int epoll_fd, struct connection *connection)
{
    ssize_t received = recv(connection->fd, receive_buffer, sizeof receive_buffer, 0);
    ssize_t sent;

    if (received < 0 && errno == EAGAIN)
        return;
    if (received <= 0) {
        drop(connection);
        return;
    }
    sent = send(connection->fd, receive_buffer, (size_t)received, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN)
        sent = 0;
    if (sent < 0)
        drop(connection);
    else if (sent < received)
        keep_rest(epoll_fd, connection, receive_buffer + sent, (size_t)(received - sent));
}

static void on_writable(int epoll_fd, struct connection *connection)
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
        watch(epoll_fd, EPOLL_CTL_MOD, connection, EPOLLIN);
    }
}

static void run_turn(int epoll_fd, int listening_fd)
{
    static struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(epoll_fd, events, EVENTS_PER_TURN, -1);

    if (count < 0 && errno != EINTR)
        die("epoll_wait", errno);
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;

        if (connection == NULL)
            accept_all(epoll_fd, listening_fd);
        else if (connection->pending != NULL)
            on_writable(epoll_fd, connection);
        else
            on_readable(epoll_fd, connection);
    }
}

int main(void)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listening_fd;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

    if (epoll_fd < 0)
        die("epoll_create1", errno);
    raise_descriptor_limit();
    listening_fd = listen_on_loopback(SOCK_NONBLOCK);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listening_fd, &event) != 0)
        die("epoll_ctl", errno);
    announce_ready(listening_fd);
    for (;;)
        run_turn(epoll_fd, listening_fd);
}
