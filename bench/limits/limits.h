/*
 * What the bare C echo servers share: options, the listening socket and the readiness line.
 *
 * The servers mark the physical limit of a machine: what remains of an echo when no Python
 * runs. Single-threaded. They follow the protocol of bench/processes.py: print "READY <port>" once
 * they accept connections, then serve until a signal ends them.
 */
#ifndef LOOPX_BENCH_LIMITS_H
#define LOOPX_BENCH_LIMITS_H

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 4096, BULK_BUFFER_BYTES = 256 * 1024 };

static inline void die(const char *what, int error_number)
{
    fprintf(stderr, "%s: %s\n", what, strerror(error_number));
    exit(1);
}

/* 10,000 connections need as many descriptors: take all that the hard limit allows. */
static inline void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("getrlimit", errno);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("setrlimit", errno);
}

/* Listens on a free loopback port. Accepted sockets inherit TCP_NODELAY from the listening one. */
static inline int listen_on_loopback(int socket_flags)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    const int enabled = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | socket_flags, 0);

    if (fd < 0)
        die("socket", errno);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &enabled, sizeof enabled);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &enabled, sizeof enabled);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("bind", errno);
    if (listen(fd, LISTEN_BACKLOG) != 0)
        die("listen", errno);
    return fd;
}

static inline void announce_ready(int listening_fd)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;

    if (getsockname(listening_fd, (struct sockaddr *)&address, &length) != 0)
        die("getsockname", errno);
    printf("READY %d\n", ntohs(address.sin_port));
    fflush(stdout);
}

#endif
