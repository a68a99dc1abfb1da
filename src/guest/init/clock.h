#ifndef CADDIS_CLOCK_H
#define CADDIS_CLOCK_H

#include <stdint.h>

/* Milliseconds of the monotonic clock. */
int64_t clock_ms(void);
/* Sets the real-time clock, nanoseconds since the epoch; 0 or -1 with errno. */
int clock_set(uint64_t nanoseconds);
/* By how many milliseconds the real-time clock is behind `nanoseconds` since the epoch. */
int64_t clock_behind_ms(uint64_t nanoseconds);
/* Sleeps, for the worker's bounded waits only: the agent itself never does. */
void clock_sleep_ms(int milliseconds);

#endif
