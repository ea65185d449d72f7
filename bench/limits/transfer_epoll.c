/*
 * A bare server of transfers on epoll: what this machine can take in, or give out, without Python.
 *
 * Single-threaded. Takes SIZE bytes and answers with ANSWER: the request, cut, or repeated as
 * load/repeated.h says. What it receives goes into one buffer, what it sends comes from memory
 * that was filled before. What holds of echo_epoll.c holds here: it must not grow features.
 *
 * Usage: transfer_epoll SIZE ANSWER
 */
#include "epoll_server.h"

#include "../load/repeated.h"
#include "../load/segments.h"

#include <stdbool.h>

enum {
    ANSWERS_KEPT = 16,
    RECEIVE_BYTES = 65536, /* of four times that, senders copy less of an upload on AMD family 25 */
};

struct connection {
    int fd;
    size_t received_bytes; /* of the request */
    size_t head_bytes;     /* of them in `head` */
    char *head;            /* as much of the request as the answer is made of */
    const char *answer;    /* that is being sent, else NULL */
    size_t sent_bytes;
    bool waits_for_room; /* EPOLLOUT is on, and EPOLLIN off */
};

static size_t size_bytes, answer_bytes, head_bytes_max;
static char receive_buffer[RECEIVE_BYTES];
static char *answers[ANSWERS_KEPT]; /* as many as the load generator has messages, and more */

static void drop(struct connection *connection)
{
    close(connection->fd);
    free(connection->head);
    free(connection);
}

struct connection *connection_accepted(int fd)
{
    struct connection *connection = calloc(1, sizeof *connection);

    if (connection == NULL || (connection->head = malloc(head_bytes_max)) == NULL)
        die("malloc", ENOMEM);
    connection->fd = fd;
    return connection;
}

/* Made once for each request that differs. */
static const char *answer_to(const char *head)
{
    for (int i = 0; i < ANSWERS_KEPT; i++) {
        if (answers[i] == NULL) {
            answers[i] = malloc(answer_bytes);
            if (answers[i] == NULL)
                die("malloc", ENOMEM);
            for (size_t at = 0; at < answer_bytes; at++)
                answers[i][at] = repeated_byte(head, head_bytes_max, at);
        }
        if (memcmp(answers[i], head, head_bytes_max) == 0)
            return answers[i];
    }
    die("answers", ENOSPC);
    return NULL;
}

static void send_more(struct connection *connection)
{
    bool is_all;
    size_t wanted;
    ssize_t sent;

    do {
        wanted = answer_bytes - connection->sent_bytes;
        if (wanted > SEND_BYTES_MAX)
            wanted = SEND_BYTES_MAX;
        sent = send(connection->fd, connection->answer + connection->sent_bytes, wanted,
                    MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            drop(connection);
            return;
        }
        connection->sent_bytes += sent < 0 ? 0 : (size_t)sent;
        is_all = connection->sent_bytes == answer_bytes;
    } while (!is_all && sent == (ssize_t)wanted);
    if (is_all) {
        connection->answer = NULL;
        connection->received_bytes = connection->head_bytes = 0;
    }
    if (connection->waits_for_room == is_all) {
        connection->waits_for_room = !is_all;
        watch(EPOLL_CTL_MOD, connection->fd, connection, is_all ? EPOLLIN : EPOLLOUT);
    }
}

static void on_readable(struct connection *connection)
{
    ssize_t received = recv(connection->fd, receive_buffer, sizeof receive_buffer, 0);
    size_t wanted = head_bytes_max - connection->head_bytes;

    if (received < 0 && errno == EAGAIN)
        return;
    if (received <= 0) {
        drop(connection);
        return;
    }
    if (wanted > (size_t)received)
        wanted = (size_t)received;
    memcpy(connection->head + connection->head_bytes, receive_buffer, wanted);
    connection->head_bytes += wanted;
    connection->received_bytes += (size_t)received;
    if (connection->received_bytes >= size_bytes) {
        connection->answer = answer_to(connection->head);
        connection->sent_bytes = 0;
        send_more(connection);
    }
}

void connection_ready(struct connection *connection)
{
    if (connection->answer != NULL)
        send_more(connection);
    else
        on_readable(connection);
}

int main(int argc, char **argv)
{
    if (argc != 3 || (size_bytes = (size_t)atol(argv[1])) == 0 ||
        (answer_bytes = (size_t)atol(argv[2])) == 0) {
        fprintf(stderr, "usage: %s SIZE ANSWER\n", argv[0]);
        return 2;
    }
    head_bytes_max = size_bytes < answer_bytes ? size_bytes : answer_bytes;
    serve();
}
