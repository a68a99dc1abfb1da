/*
 * The unacknowledged window of one byte stream: positions [base, end) of an endless stream, at most STREAM_WINDOW bytes. The memory is mapped at the first
 * use and given back by ring_free, so an idle stream costs nothing.
 */
#ifndef CADDIS_RING_H
#define CADDIS_RING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ring {
	uint8_t *memory;
	uint64_t base, end;
};

size_t ring_room(const struct ring *r);
/* One read(2) of at most `room` bytes into the ring; returns what read(2) did (errno ENOMEM if the memory cannot be had). */
ssize_t ring_read(struct ring *r, int fd);
/* One write(2) of what lies at base; the base moves on. */
ssize_t ring_write(struct ring *r, int fd);
/* Appends `length` bytes, whole or not at all: 0, or -1 for no room or no memory. */
int ring_put(struct ring *r, const void *bytes, size_t length);
/* The contiguous bytes that begin at `position` (base <= position <= end), at most `most`. */
const uint8_t *ring_at(const struct ring *r, uint64_t position, size_t most, size_t *length);
void ring_free(struct ring *r);

#endif
