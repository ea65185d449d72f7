/*
 * A bare echo server over TLS 1.3 on epoll: what OpenSSL leaves a loop to reach.
 *
 * Single-threaded. OpenSSL reads ahead, as much as there is in one call, and writes into a buffer
 * that leaves in one call, as the loops have it; nothing else is copied. What holds of echo_epoll.c
 * holds here: it owns nothing but its connections and must not grow features.
 *
 * Usage: echo_tls FILE (PEM: the private key and the certificate chain)
 */
#include "epoll_server.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>

enum { RECEIVE_BUFFER_BYTES = 128 * 1024, SEND_BUFFER_BYTES = 128 * 1024 };

struct connection {
    int fd;
    SSL *tls;
    size_t pending_bytes; /* decrypted, not yet encrypted */
    char *pending;        /* malloc'd only while a write is blocked, else NULL */
    bool waits_for_room;  /* EPOLLOUT is on, and EPOLLIN off */
};

static SSL_CTX *context;
static char plaintext[BULK_BUFFER_BYTES];

static void die_of_tls(const char *what)
{
    char reason[256];

    ERR_error_string_n(ERR_get_error(), reason, sizeof reason);
    fprintf(stderr, "%s: %s\n", what, reason);
    exit(1);
}

static void drop(struct connection *connection)
{
    SSL_free(connection->tls);
    close(connection->fd);
    free(connection->pending);
    free(connection);
}

struct connection *connection_accepted(int fd)
{
    struct connection *connection = calloc(1, sizeof *connection);
    BIO *socket = BIO_new_socket(fd, BIO_NOCLOSE);
    BIO *buffer = BIO_new(BIO_f_buffer());

    if (connection == NULL || socket == NULL || buffer == NULL)
        die("calloc", ENOMEM);
    connection->fd = fd;
    connection->tls = SSL_new(context);
    if (connection->tls == NULL || BIO_set_write_buffer_size(buffer, SEND_BUFFER_BYTES) != 1)
        die_of_tls("SSL_new");
    BIO_up_ref(socket);
    SSL_set0_rbio(connection->tls, socket);
    SSL_set0_wbio(connection->tls, BIO_push(buffer, socket));
    SSL_set_accept_state(connection->tls);
    return connection;
}

/* Whether to go on later; any other reason ends the connection. */
static bool would_block(struct connection *connection, int result)
{
    int error = SSL_get_error(connection->tls, result);

    ERR_clear_error();
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

static void wait_for(struct connection *connection, uint32_t event)
{
    if (connection->waits_for_room == (event == EPOLLOUT))
        return;
    connection->waits_for_room = event == EPOLLOUT;
    watch(EPOLL_CTL_MOD, connection->fd, connection, event);
}

/* Keeps what could not be encrypted, reads nothing more until it is gone. */
static void keep_rest(struct connection *connection, const char *rest, size_t bytes)
{
    char *kept = malloc(bytes);

    if (kept == NULL)
        die("malloc", ENOMEM);
    memcpy(kept, rest, bytes);
    free(connection->pending);
    connection->pending = kept;
    connection->pending_bytes = bytes;
}

/* Encrypts and sends all; false when the connection waits for room, or is gone. */
static bool send_all(struct connection *connection, const char *data, size_t bytes)
{
    while (bytes > 0) {
        int written = SSL_write(connection->tls, data, (int)bytes);

        if (written > 0) {
            data += written;
            bytes -= (size_t)written;
        } else if (would_block(connection, written)) {
            keep_rest(connection, data, bytes);
            wait_for(connection, EPOLLOUT);
            return false;
        } else {
            drop(connection);
            return false;
        }
    }
    free(connection->pending);
    connection->pending = NULL;
    connection->pending_bytes = 0;
    if (BIO_flush(SSL_get_wbio(connection->tls)) == 1)
        return true;
    if (BIO_should_retry(SSL_get_wbio(connection->tls)))
        wait_for(connection, EPOLLOUT);
    else
        drop(connection);
    return false;
}

/* Until nothing is left: epoll does not see what OpenSSL has read ahead. */
static void echo_all(struct connection *connection)
{
    do {
        size_t received = 0;
        int result;

        do {
            result = SSL_read(connection->tls, plaintext + received,
                              (int)(sizeof plaintext - received));
            received += result > 0 ? (size_t)result : 0;
        } while (result > 0 && received < sizeof plaintext && SSL_has_pending(connection->tls));
        if (received > 0 && !send_all(connection, plaintext, received))
            return;
        if (result <= 0 && !would_block(connection, result)) {
            drop(connection);
            return;
        }
        if (result <= 0)
            break;
    } while (SSL_has_pending(connection->tls));
    wait_for(connection, EPOLLIN);
}

void connection_ready(struct connection *connection)
{
    if (!connection->waits_for_room
        || send_all(connection, connection->pending, connection->pending_bytes))
        echo_all(connection);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: echo_tls FILE\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    context = SSL_CTX_new(TLS_server_method());
    if (context == NULL
        || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1
        || SSL_CTX_use_certificate_chain_file(context, argv[1]) != 1
        || SSL_CTX_use_PrivateKey_file(context, argv[1], SSL_FILETYPE_PEM) != 1)
        die_of_tls(argv[1]);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, RECEIVE_BUFFER_BYTES);
    serve();
}
