#define _GNU_SOURCE
#include "clock.h"

#include <time.h>

int64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int clock_set(uint64_t nanoseconds)
{
	struct timespec t = { .tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u) };

	return clock_settime(CLOCK_REALTIME, &t);
}

int64_t clock_behind_ms(uint64_t nanoseconds)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)(nanoseconds / 1000000u) - ((int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

void clock_sleep_ms(int milliseconds)
{
	struct timespec t = { .tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L };

	nanosleep(&t, NULL);
}
