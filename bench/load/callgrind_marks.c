/*
 * Marks for callgrind, as a library that a Python process loads: from where to where it counts.
 *
 * Owns nothing. Outside valgrind the requests are a few instructions that do nothing. Instructions
 * before the first mark are not instrumented at all, which makes starting Python five times faster.
 */
#include <valgrind/callgrind.h>

void counting_begins(void);
void counting_ends(const char *name);

void counting_begins(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

/* Writes what was counted since the beginning to a file of its own that bears the name. */
void counting_ends(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
