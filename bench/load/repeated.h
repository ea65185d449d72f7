/*
 * What an answer that is longer than its request repeats: the request, each time with the number of
 * the repetition (8 bytes, little-endian) over its first bytes by exclusive or.
 */
#ifndef LOOPX_BENCH_REPEATED_H
#define LOOPX_BENCH_REPEATED_H

#include <stddef.h>
#include <stdint.h>

static inline char repeated_byte(const char *request, size_t size_bytes, size_t at)
{
    size_t place = at % size_bytes;
    uint64_t number = at / size_bytes;

    return place < sizeof number ? request[place] ^ (char)(number >> 8 * place) : request[place];
}

#endif
