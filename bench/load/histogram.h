/*
 * A log-linear histogram of latencies in nanoseconds, in the manner of HdrHistogram.
 *
 * Values below 64 are exact; above, each power of two is cut into SUB_BUCKETS / 2 = 64 equal
 * parts, so a reported percentile is at most 1/64 (1.6%) above the true one. The maximum is exact.
 * Not thread-safe: one owner. It allocates nothing, so recording costs a few instructions.
 * Source of the idea: http://hdrhistogram.org
 */
#ifndef LOOPX_BENCH_HISTOGRAM_H
#define LOOPX_BENCH_HISTOGRAM_H

#include <stdint.h>
#include <string.h>

enum { SUB_BUCKET_BITS = 7, SUB_BUCKETS = 1 << SUB_BUCKET_BITS, BUCKETS = 40 };

struct histogram {
    uint64_t counts[BUCKETS + 1][SUB_BUCKETS / 2];
    uint64_t total;
    uint64_t sum_ns;
    uint64_t max_ns;
};

/* Slot 0 holds 0 to 63 exactly; slot s > 0 holds [2^(s+5), 2^(s+6)) in 64 equal parts. */
static inline void histogram_record(struct histogram *histogram, uint64_t value_ns)
{
    const int half_bits = SUB_BUCKET_BITS - 1;
    unsigned slot = 0;
    unsigned part;

    if (value_ns >= (uint64_t)1 << half_bits) {
        unsigned highest = 63 - (unsigned)__builtin_clzll(value_ns);

        slot = highest - half_bits + 1;
        if (slot > BUCKETS)
            slot = BUCKETS;
        part = (unsigned)(value_ns >> (slot - 1)) & (SUB_BUCKETS / 2 - 1);
    } else {
        part = (unsigned)value_ns;
    }
    histogram->counts[slot][part]++;
    histogram->total++;
    histogram->sum_ns += value_ns;
    if (value_ns > histogram->max_ns)
        histogram->max_ns = value_ns;
}

static inline void histogram_reset(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

/* The upper edge of the slot that holds the value at `percentile` (0 to 100); 0 if empty. */
static inline uint64_t histogram_percentile(const struct histogram *histogram, double percentile)
{
    uint64_t wanted = (uint64_t)((double)histogram->total * percentile / 100.0 + 0.5);
    uint64_t seen = 0;

    if (wanted == 0)
        wanted = 1;
    for (unsigned slot = 0; slot <= BUCKETS; slot++) {
        for (unsigned part = 0; part < SUB_BUCKETS / 2; part++) {
            seen += histogram->counts[slot][part];
            if (seen >= wanted) {
                uint64_t edge_ns = part;

                if (slot > 0)
                    edge_ns = ((uint64_t)(SUB_BUCKETS / 2 + part + 1) << (slot - 1)) - 1;
                return edge_ns < histogram->max_ns ? edge_ns : histogram->max_ns;
            }
        }
    }
    return histogram->max_ns;
}

#endif
