/*
 * Plain and TLS channels of the load generator; the contract is in channel.h.
 *
 * Owns the process's single TLS context. Single-threaded. It verifies the server's certificate, so
 * a server that answers with another one is an error and not a fast row.
 */
#define _GNU_SOURCE

#include "channel.h"
#include "segments.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
static SSL_CTX *tls_context;
#endif

void fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("echo_load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

#ifdef WITH_TLS

static void fail_tls(const char *what)
{
    char reason[256];

    ERR_error_string_n(ERR_get_error(), reason, sizeof reason);
    fail("%s: %s", what, reason);
}

void channel_use_tls(const char *ca_file)
{
    tls_context = SSL_CTX_new(TLS_client_method());
    if (tls_context == NULL)
        fail_tls("SSL_CTX_new");
    SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION);
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE);
    if (SSL_CTX_load_verify_locations(tls_context, ca_file, NULL) != 1)
        fail_tls("SSL_CTX_load_verify_locations");
}

static void *open_tls(int fd)
{
    SSL *tls;

    if (tls_context == NULL)
        return NULL;
    tls = SSL_new(tls_context);
    if (tls == NULL || SSL_set_fd(tls, fd) != 1 || SSL_set1_host(tls, "localhost") != 1)
        fail_tls("SSL_new");
    SSL_set_tlsext_host_name(tls, "localhost");
    if (SSL_connect(tls) != 1)
        fail_tls("TLS handshake");
    return tls;
}

static ssize_t tls_result(SSL *tls, int result, const char *what)
{
    int error;

    if (result > 0)
        return result;
    error = SSL_get_error(tls, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return CHANNEL_WOULD_BLOCK;
    if (error == SSL_ERROR_ZERO_RETURN)
        return CHANNEL_CLOSED;
    if (error == SSL_ERROR_SYSCALL)
        fail("%s: %s", what, strerror(errno));
    fail_tls(what);
    return CHANNEL_CLOSED;
}

static ssize_t tls_send(struct channel *channel, const char *data, size_t bytes)
{
    return tls_result(channel->tls, SSL_write(channel->tls, data, (int)bytes), "SSL_write");
}

static ssize_t tls_receive(struct channel *channel, char *buffer, size_t bytes)
{
    char discarded[16 * 1024]; /* a TLS record at most: larger reads return no more */

    if (buffer == NULL) {
        buffer = discarded;
        bytes = bytes < sizeof discarded ? bytes : sizeof discarded;
    }
    return tls_result(channel->tls, SSL_read(channel->tls, buffer, (int)bytes), "SSL_read");
}

static void close_tls(struct channel *channel)
{
    if (channel->tls != NULL) {
        SSL_shutdown(channel->tls);
        SSL_free(channel->tls);
    }
}

#else

void channel_use_tls(const char *ca_file)
{
    fail("built without TLS, so %s is of no use: install libssl-dev and build again", ca_file);
}

static void *open_tls(int fd)
{
    (void)fd;
    return NULL;
}

static ssize_t tls_send(struct channel *channel, const char *data, size_t bytes)
{
    fail("built without TLS: %p %p %zu", (void *)channel, (const void *)data, bytes);
}

static ssize_t tls_receive(struct channel *channel, char *buffer, size_t bytes)
{
    fail("built without TLS: %p %p %zu", (void *)channel, (void *)buffer, bytes);
}

static void close_tls(struct channel *channel)
{
    (void)channel;
}

#endif

/* The port is chosen when the socket connects: it need not be free towards all other peers. */
static void bind_to(int fd, const char *source)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    const int enabled = 1;

    if (inet_pton(AF_INET, source, &address.sin_addr) != 1)
        fail("not an IPv4 address: %s", source);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &enabled, sizeof enabled);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("bind to %s: %s", source, strerror(errno));
}

static void connect_unix(int fd, const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t bytes = strlen(name);

    if (bytes > sizeof address.sun_path - 1)
        fail("too long a name: %s", name);
    memcpy(address.sun_path + 1, name, bytes);
    if (connect(fd, (struct sockaddr *)&address,
                offsetof(struct sockaddr_un, sun_path) + 1 + bytes) != 0)
        fail("connect to @%s: %s", name, strerror(errno));
}

static void connect_tcp(int fd, const char *host, uint16_t port, const char *source)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    const int enabled = 1;

    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        fail("not an IPv4 address: %s", host);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &enabled, sizeof enabled);
    if (source != NULL)
        bind_to(fd, source);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect to %s:%u: %s", host, port, strerror(errno));
}

struct channel channel_open(const char *host, uint16_t port, const char *source,
                            unsigned timeout_seconds)
{
    const struct timeval timeout = { .tv_sec = timeout_seconds };
    int fd = socket(host[0] == '@' ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    if (host[0] == '@')
        connect_unix(fd, host + 1);
    else
        connect_tcp(fd, host, port, source);
    return (struct channel){ .fd = fd, .tls = open_tls(fd) };
}

void channel_set_non_blocking(struct channel *channel)
{
    int flags = fcntl(channel->fd, F_GETFL);

    if (flags < 0 || fcntl(channel->fd, F_SETFL, flags | O_NONBLOCK) != 0)
        fail("fcntl: %s", strerror(errno));
}

ssize_t channel_send(struct channel *channel, const char *data, size_t bytes)
{
    ssize_t sent;

    if (channel->tls != NULL)
        return tls_send(channel, data, bytes);
    sent = send(channel->fd, data, bytes < SEND_BYTES_MAX ? bytes : SEND_BYTES_MAX, MSG_NOSIGNAL);
    if (sent >= 0)
        return sent;
    if (errno == EAGAIN)
        return CHANNEL_WOULD_BLOCK;
    fail("send: %s", strerror(errno));
}

ssize_t channel_receive(struct channel *channel, char *buffer, size_t bytes)
{
    ssize_t received;

    if (channel->tls != NULL)
        return tls_receive(channel, buffer, bytes);
    received = recv(channel->fd, buffer, bytes, buffer == NULL ? MSG_TRUNC : 0);
    if (received >= 0)
        return received;
    if (errno == EAGAIN)
        return CHANNEL_WOULD_BLOCK;
    fail("recv: %s", strerror(errno));
}

void channel_close(struct channel *channel)
{
    close_tls(channel);
    close(channel->fd);
}
