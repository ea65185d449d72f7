/*
 * One connection's bytes, plain or TLS 1.3, behind the same four calls.
 *
 * A channel owns its descriptor and its TLS session. It is opened and greeted while blocking (so
 * that set-up is simple and fails loudly) and becomes non-blocking afterwards. Single-threaded.
 * TLS is there only if the OpenSSL headers were found when it was built (WITH_TLS).
 */
#ifndef LOOPX_BENCH_CHANNEL_H
#define LOOPX_BENCH_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CHANNEL_WOULD_BLOCK = -1, CHANNEL_CLOSED = 0 };

struct channel {
    int fd;
    void *tls; /* SSL *, or NULL for a plain connection */
};

/* Prints the reason to stderr and ends the process with status 1: a failed run is an error. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Loads the certificate authority that signed the server's certificate; once, before any open. */
void channel_use_tls(const char *ca_file);

/*
 * Connects to host:port (IPv4), from the address `source` unless that is NULL, with the handshake
 * if TLS is in use. Each source address has ports of its own. A host that begins with @ is the
 * name of a Unix socket in the abstract namespace.
 */
struct channel channel_open(const char *host, uint16_t port, const char *source,
                            unsigned timeout_seconds);

void channel_set_non_blocking(struct channel *channel);

/*
 * Bytes moved (> 0), CHANNEL_WOULD_BLOCK, or CHANNEL_CLOSED (receive only). Errors are fatal.
 * Receiving into NULL throws up to `bytes` away.
 */
ssize_t channel_send(struct channel *channel, const char *data, size_t bytes);
ssize_t channel_receive(struct channel *channel, char *buffer, size_t bytes);

/* True if receive must be repeated until it would block: TLS keeps bytes that epoll cannot see. */
static inline bool channel_hides_bytes(const struct channel *channel)
{
    return channel->tls != NULL;
}

void channel_close(struct channel *channel);

#endif
