/*
 * Load generator for echo servers: a closed loop on N connections over one epoll instance.
 *
 * Each connection sends one message, reads the whole echo, compares every byte, sends the next.
 * With --answer the echo is longer or shorter than the message: it is repeated (repeated.h), or
 * cut, and what that leaves out nobody compares.
 * Neighbouring connections and successive requests carry different messages, so a swapped or
 * stale buffer is caught. Of messages above 16 KiB only one in CHECK_INTERVAL is compared while
 * the measurement lasts; of the others the bytes are counted (MSG_TRUNC: the kernel throws them
 * away uncopied), or the client would be the bottleneck of bulk rows. A short, wrong, closed or
 * stalled connection ends the process with status 1 and a reason on stderr: there are no partial
 * results. Being a closed loop it reports service times and does not correct for requests that a
 * client with a schedule would have made. Single-threaded; owns every socket that it opens.
 *
 * Connections are opened one by one, each with a first exchange. Result: one JSON object on
 * stdout. With --idle, only {"idle_connections": N}, and all are held until stdin ends.
 */
#define _GNU_SOURCE

#include "channel.h"
#include "histogram.h"
#include "options.h"
#include "repeated.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    MESSAGE_VARIANTS = 8,
    EVENTS_PER_TURN = 512,
    SCRATCH_BYTES = 256 * 1024,
    ALWAYS_CHECKED_BYTES = 16 * 1024,
    CHECK_INTERVAL = 15, /* shares no factor with MESSAGE_VARIANTS: every variant has its turn */
};

enum phase { WARMING_UP, MEASURING, DRAINING };

struct connection {
    struct channel channel;
    const char *message; /* the one in flight; NULL while draining and done */
    uint64_t started_ns;
    size_t sent_bytes;
    size_t received_bytes;
    unsigned requests;
    bool is_checked;     /* the bytes of the echo in flight are compared, not only counted */
    bool waits_for_room; /* EPOLLOUT is on */
};

static struct options options;
static struct connection *connections;
static char *messages[MESSAGE_VARIANTS]; /* as long as what comes back, if that is more */
static char scratch[SCRATCH_BYTES];
static struct histogram histogram;
static enum phase phase;
static unsigned in_flight;
static int epoll_fd;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec time;

    if (clock_gettime(clock, &time) != 0)
        fail("clock_gettime: %s", strerror(errno));
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* CPU of all the server's threads, kernel workers of its ring included; 0 without --server-pid. */
static uint64_t server_cpu_ns(void)
{
    clockid_t clock;

    if (options.server_pid == 0)
        return 0;
    if (clock_getcpuclockid(options.server_pid, &clock) != 0)
        fail("the server (process %d) is gone", (int)options.server_pid);
    return clock_ns(clock);
}

/* Random bytes without a newline, then one newline, so that line-reading servers serve it too. */
static void make_messages(void)
{
    uint64_t state = 0x9e3779b97f4a7c15u;
    size_t room = options.answer_bytes > options.size_bytes ? options.answer_bytes
                                                            : options.size_bytes;

    for (int variant = 0; variant < MESSAGE_VARIANTS; variant++) {
        char *message = malloc(room);

        if (message == NULL)
            fail("no memory for %zu bytes", room);
        for (size_t i = 0; i < options.size_bytes; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            message[i] = (char)(state >> 56);
            if (message[i] == '\n')
                message[i] = ' ';
        }
        message[options.size_bytes - 1] = '\n';
        for (size_t i = options.size_bytes; i < room; i++)
            message[i] = repeated_byte(message, options.size_bytes, i);
        messages[variant] = message;
    }
}

static unsigned index_of(const struct connection *connection)
{
    return (unsigned)(connection - connections);
}

static void watch(struct connection *connection, int operation, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = connection };

    if (epoll_ctl(epoll_fd, operation, connection->channel.fd, &event) != 0)
        fail("epoll_ctl: %s", strerror(errno));
    connection->waits_for_room = (events & EPOLLOUT) != 0;
}

static void send_more(struct connection *connection)
{
    while (connection->sent_bytes < options.size_bytes) {
        ssize_t sent = channel_send(&connection->channel,
                                    connection->message + connection->sent_bytes,
                                    options.size_bytes - connection->sent_bytes);

        if (sent == CHANNEL_WOULD_BLOCK) {
            if (!connection->waits_for_room)
                watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        connection->sent_bytes += (size_t)sent;
    }
    if (connection->waits_for_room)
        watch(connection, EPOLL_CTL_MOD, EPOLLIN);
}

static void start_message(struct connection *connection, uint64_t now_ns)
{
    connection->message = messages[connection->requests % MESSAGE_VARIANTS];
    connection->is_checked = options.answer_bytes <= ALWAYS_CHECKED_BYTES || phase != MEASURING ||
                             connection->requests % CHECK_INTERVAL == 0;
    connection->requests++;
    connection->sent_bytes = 0;
    connection->received_bytes = 0;
    connection->started_ns = now_ns;
    send_more(connection);
}

static void finish_message(struct connection *connection)
{
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

    if (connection->sent_bytes < options.size_bytes)
        fail("connection %u: answered after %zu of %zu bytes", index_of(connection),
             connection->sent_bytes, options.size_bytes);
    if (phase == MEASURING)
        histogram_record(&histogram, now_ns - connection->started_ns);
    if (phase == DRAINING) {
        connection->message = NULL;
        in_flight--;
    } else {
        start_message(connection, now_ns);
    }
}

/* Takes what has arrived and compares it; true when the echo is complete. */
static bool receive_some(struct connection *connection, ssize_t *received)
{
    size_t expected = options.answer_bytes - connection->received_bytes;
    size_t room = expected + 1 < SCRATCH_BYTES ? expected + 1 : SCRATCH_BYTES;

    if (connection->message == NULL)
        fail("connection %u: bytes or an end after its last echo", index_of(connection));
    *received =
        channel_receive(&connection->channel, connection->is_checked ? scratch : NULL, room);
    if (*received == CHANNEL_WOULD_BLOCK)
        return false;
    if (*received == CHANNEL_CLOSED)
        fail("connection %u: closed by the server after %zu of %zu bytes", index_of(connection),
             connection->received_bytes, options.answer_bytes);
    if ((size_t)*received > expected)
        fail("connection %u: more bytes came back than are to", index_of(connection));
    if (connection->is_checked &&
        memcmp(scratch, connection->message + connection->received_bytes,
               (size_t)*received) != 0)
        fail("connection %u: the echo differs from what was sent", index_of(connection));
    connection->received_bytes += (size_t)*received;
    return connection->received_bytes == options.answer_bytes;
}

static void on_readable(struct connection *connection)
{
    ssize_t received;

    do {
        if (receive_some(connection, &received)) {
            finish_message(connection);
            return;
        }
    } while (received != CHANNEL_WOULD_BLOCK && channel_hides_bytes(&connection->channel));
}

/* A connection whose echo is older than the timeout is stalled, even while others make progress. */
static void check_stalls(uint64_t now_ns)
{
    uint64_t timeout_ns = (uint64_t)options.timeout_seconds * 1000000000u;

    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *connection = &connections[i];

        if (connection->message != NULL && now_ns > connection->started_ns + timeout_ns)
            fail("connection %u: no complete echo for %u s (%zu of %zu bytes)", i,
                 options.timeout_seconds, connection->received_bytes, options.answer_bytes);
    }
}

static void run_turn(void)
{
    static struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(epoll_fd, events, EVENTS_PER_TURN, 1000);

    if (count < 0 && errno != EINTR)
        fail("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;

        if (events[i].events & EPOLLOUT)
            send_more(connection);
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            on_readable(connection);
    }
}

static void run_until(uint64_t deadline_ns)
{
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t next_check_ns = now_ns + 1000000000u;

    while (now_ns < deadline_ns && !(phase == DRAINING && in_flight == 0)) {
        run_turn();
        now_ns = clock_ns(CLOCK_MONOTONIC);
        if (now_ns >= next_check_ns) {
            check_stalls(now_ns);
            next_check_ns = now_ns + 1000000000u;
        }
    }
}

static void print_result(uint64_t elapsed_ns, uint64_t server_ns, uint64_t load_ns)
{
    double requests = (double)histogram.total;

    if (histogram.total == 0)
        fail("no request completed in %g s", options.seconds);
    printf("{\"connections\": %u, \"size_bytes\": %zu, \"requests\": %lu, \"seconds\": %.6f, "
           "\"requests_per_second\": %.3f, \"mean_us\": %.3f, \"p50_us\": %.3f, \"p99_us\": %.3f, "
           "\"p999_us\": %.3f, \"max_us\": %.3f, \"load_cpu_share\": %.4f",
           options.connections, options.size_bytes, histogram.total, (double)elapsed_ns / 1e9,
           requests / ((double)elapsed_ns / 1e9), (double)histogram.sum_ns / requests / 1e3,
           (double)histogram_percentile(&histogram, 50.0) / 1e3,
           (double)histogram_percentile(&histogram, 99.0) / 1e3,
           (double)histogram_percentile(&histogram, 99.9) / 1e3, (double)histogram.max_ns / 1e3,
           (double)load_ns / (double)elapsed_ns);
    if (options.server_pid != 0)
        printf(", \"cpu_us_per_request\": %.4f, \"server_cpu_share\": %.4f",
               (double)server_ns / 1e3 / requests, (double)server_ns / (double)elapsed_ns);
    puts("}");
}

/* While the socket still blocks: the server has then accepted it, and is at rest afterwards. */
static void exchange_once(struct connection *connection)
{
    ssize_t received = 0;

    start_message(connection, clock_ns(CLOCK_MONOTONIC));
    while (!receive_some(connection, &received)) {
        if (received == CHANNEL_WOULD_BLOCK)
            fail("connection %u: no echo for %u s", index_of(connection), options.timeout_seconds);
    }
    connection->message = NULL;
}

/*
 * One by one, each with a first exchange: what is measured is a server that serves, not how it
 * takes a burst of new connections.
 */
static void open_connections(void)
{
    connections = calloc(options.connections, sizeof *connections);
    if (connections == NULL)
        fail("no memory for %u connections", options.connections);
    if (options.ca_file != NULL)
        channel_use_tls(options.ca_file);
    for (unsigned i = 0; i < options.connections; i++) {
        connections[i].channel = channel_open(options.host, options.port, options.source,
                                              options.timeout_seconds);
        connections[i].requests = i;
        exchange_once(&connections[i]);
    }
}

static void measure(void)
{
    uint64_t begin_ns, elapsed_ns, server_ns, load_ns;

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        fail("epoll_create1: %s", strerror(errno));
    for (unsigned i = 0; i < options.connections; i++) {
        channel_set_non_blocking(&connections[i].channel);
        watch(&connections[i], EPOLL_CTL_ADD, EPOLLIN);
    }
    in_flight = options.connections;
    for (unsigned i = 0; i < options.connections; i++)
        start_message(&connections[i], clock_ns(CLOCK_MONOTONIC));
    run_until(clock_ns(CLOCK_MONOTONIC) + (uint64_t)(options.warmup_seconds * 1e9));

    phase = MEASURING;
    histogram_reset(&histogram);
    server_ns = server_cpu_ns();
    load_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    begin_ns = clock_ns(CLOCK_MONOTONIC);
    run_until(begin_ns + (uint64_t)(options.seconds * 1e9));
    elapsed_ns = clock_ns(CLOCK_MONOTONIC) - begin_ns;
    server_ns = server_cpu_ns() - server_ns;
    load_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - load_ns;

    phase = DRAINING;
    run_until(UINT64_MAX);
    print_result(elapsed_ns, server_ns, load_ns);
}

static void hold_idle(void)
{
    printf("{\"idle_connections\": %u}\n", options.connections);
    fflush(stdout);
    while (read(STDIN_FILENO, scratch, sizeof scratch) > 0)
        ;
}

int main(int argc, char **argv)
{
    struct rlimit limit;

    options = parse_options(argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail("getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail("setrlimit: %s", strerror(errno));
    make_messages();
    open_connections();
    if (options.idle)
        hold_idle();
    else
        measure();
    for (unsigned i = 0; i < options.connections; i++)
        channel_close(&connections[i].channel);
    return 0;
}
