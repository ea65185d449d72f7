/*
 * What the C echo servers on epoll share: a level-triggered loop that accepts and hands out.
 *
 * Single-threaded. A server defines its `struct connection`, which begins with the descriptor, and
 * what happens to one that was accepted and to one that is ready.
 */
#ifndef LOOPX_BENCH_EPOLL_SERVER_H
#define LOOPX_BENCH_EPOLL_SERVER_H

#include "limits.h"

#include <sys/epoll.h>

enum { EVENTS_PER_TURN = 512 };

struct connection;
struct connection *connection_accepted(int fd);
void connection_ready(struct connection *connection);

static int epoll_fd;

static inline void watch(int operation, int fd, void *data, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = data };

    if (epoll_ctl(epoll_fd, operation, fd, &event) != 0)
        die("epoll_ctl", errno);
}

static inline void accept_all(int listening_fd)
{
    for (;;) {
        int fd = accept4(listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            if (errno == EAGAIN)
                return;
            die("accept4", errno);
        }
        watch(EPOLL_CTL_ADD, fd, connection_accepted(fd), EPOLLIN);
    }
}

static inline void serve(void)
{
    static struct epoll_event events[EVENTS_PER_TURN];
    int listening_fd;

    raise_descriptor_limit();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1", errno);
    listening_fd = listen_on_loopback(SOCK_NONBLOCK);
    watch(EPOLL_CTL_ADD, listening_fd, NULL, EPOLLIN);
    announce_ready(listening_fd);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS_PER_TURN, -1);

        if (count < 0 && errno != EINTR)
            die("epoll_wait", errno);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                accept_all(listening_fd);
            else
                connection_ready(events[i].data.ptr);
        }
    }
}

#endif
