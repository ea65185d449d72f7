/*
 * Command line of the load generator.
 *
 * Owns nothing; parsed once at start. A wrong option ends the process with status 2.
 */
#ifndef LOOPX_BENCH_OPTIONS_H
#define LOOPX_BENCH_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

struct options {
    const char *host;    /* @NAME is a Unix socket in the abstract namespace, which has no port */
    const char *source;  /* the address to connect from; NULL for the kernel's choice */
    const char *ca_file; /* TLS is used if it is given */
    double seconds;
    double warmup_seconds;
    size_t size_bytes;
    size_t answer_bytes; /* as many as are sent, if not given */
    unsigned connections;
    unsigned timeout_seconds; /* for connecting, for the handshake and for one whole echo */
    pid_t server_pid;
    uint16_t port;
    bool idle;
};

static inline void usage(const char *program)
{
    fprintf(stderr,
            "usage: %s (--port N [--host 127.0.0.1] | --host @NAME) [--connections 64]\n"
            "       [--size 1024] [--answer SIZE] [--seconds 2] [--warmup 0.5]\n"
            "       [--timeout 5] [--server-pid PID] [--ca FILE] [--source ADDRESS] [--idle]\n",
            program);
    exit(2);
}

static inline struct options parse_options(int argc, char **argv)
{
    static const struct option known[] = {
        { "host", required_argument, NULL, 'h' },
        { "source", required_argument, NULL, 'S' },
        { "port", required_argument, NULL, 'p' },
        { "connections", required_argument, NULL, 'c' },
        { "size", required_argument, NULL, 's' },
        { "answer", required_argument, NULL, 'a' },
        { "seconds", required_argument, NULL, 'd' },
        { "warmup", required_argument, NULL, 'w' },
        { "timeout", required_argument, NULL, 't' },
        { "server-pid", required_argument, NULL, 'P' },
        { "ca", required_argument, NULL, 'C' },
        { "idle", no_argument, NULL, 'i' },
        { NULL, 0, NULL, 0 },
    };
    struct options options = { .host = "127.0.0.1", .seconds = 2.0, .warmup_seconds = 0.5,
                               .size_bytes = 1024, .connections = 64, .timeout_seconds = 5 };
    int letter;

    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (letter) {
        case 'h': options.host = optarg; break;
        case 'S': options.source = optarg; break;
        case 'p': options.port = (uint16_t)atoi(optarg); break;
        case 'c': options.connections = (unsigned)atoi(optarg); break;
        case 'a': options.answer_bytes = (size_t)atol(optarg); break;
        case 's': options.size_bytes = (size_t)atol(optarg); break;
        case 'd': options.seconds = atof(optarg); break;
        case 'w': options.warmup_seconds = atof(optarg); break;
        case 't': options.timeout_seconds = (unsigned)atoi(optarg); break;
        case 'P': options.server_pid = (pid_t)atoi(optarg); break;
        case 'C': options.ca_file = optarg; break;
        case 'i': options.idle = true; break;
        default: usage(argv[0]);
        }
    }
    if (optind != argc || options.connections == 0 || options.size_bytes == 0
        || (options.port == 0 && options.host[0] != '@'))
        usage(argv[0]);
    if (options.answer_bytes == 0)
        options.answer_bytes = options.size_bytes;
    return options;
}

#endif
