/*
 * How far apart two cores are: nanoseconds for a cache line to travel there and back.
 *
 * Two threads, one pinned to each core, hand one word to and fro. Prints the least of BATCHES
 * means, so that a moment in which something else ran does not count. Owns its two threads.
 */
#define _GNU_SOURCE

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCHES = 10, TRIPS_PER_BATCH = 500 };

/* Even: the answering thread has written; odd: the asking one. Alone in its two cache lines. */
static _Alignas(128) atomic_uint word;

static void run_on(const char *core)
{
    cpu_set_t cores;

    CPU_ZERO(&cores);
    CPU_SET((unsigned)atoi(core), &cores);
    if (sched_setaffinity(0, sizeof cores, &cores) != 0) {
        perror("core_distance: sched_setaffinity");
        exit(1);
    }
}

static void await(unsigned value)
{
    while (atomic_load_explicit(&word, memory_order_acquire) != value)
        ;
}

static void *answer(void *core)
{
    run_on(core);
    for (unsigned trip = 0; trip < BATCHES * TRIPS_PER_BATCH; trip++) {
        await(2 * trip + 1);
        atomic_store_explicit(&word, 2 * trip + 2, memory_order_release);
    }
    return NULL;
}

static double now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

int main(int argc, char **argv)
{
    pthread_t answering;
    double least_ns = 1e18;
    unsigned trip = 0;
    int error;

    if (argc != 3 || strcmp(argv[1], argv[2]) == 0) {
        fprintf(stderr, "usage: %s CORE ANOTHER-CORE\n", argv[0]);
        return 2;
    }
    run_on(argv[1]);
    error = pthread_create(&answering, NULL, answer, argv[2]);
    if (error != 0) {
        fprintf(stderr, "core_distance: pthread_create: %s\n", strerror(error));
        return 1;
    }
    for (int batch = 0; batch < BATCHES; batch++) {
        double begin_ns = now_ns(), trip_ns;

        for (int i = 0; i < TRIPS_PER_BATCH; i++, trip++) {
            atomic_store_explicit(&word, 2 * trip + 1, memory_order_release);
            await(2 * trip + 2);
        }
        trip_ns = (now_ns() - begin_ns) / TRIPS_PER_BATCH;
        if (trip_ns < least_ns)
            least_ns = trip_ns;
    }
    pthread_join(answering, NULL);
    printf("%.1f\n", least_ns);
    return 0;
}
