/*
 * How much to send at once: eight segments of the loopback interface. Of more than sixteen the
 * kernel makes a transfer that waits for timers, where its congestion control paces (BBR): half as
 * fast, which the load generator's part of an upload, and C's of a download, must not be.
 */
#ifndef LOOPX_BENCH_SEGMENTS_H
#define LOOPX_BENCH_SEGMENTS_H

enum { SEND_BYTES_MAX = 8 * 65408 };

#endif
