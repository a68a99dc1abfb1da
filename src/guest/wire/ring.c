#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "frame.h"

/* The window is a power of two, so a position's place is its low bits. */
#define MASK ((uint64_t)STREAM_WINDOW - 1)

static int have_memory(struct ring *r)
{
	void *m;

	if (r->memory)
		return 1;
	m = mmap(NULL, STREAM_WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return 0;
	r->memory = m;
	return 1;
}

size_t ring_room(const struct ring *r) { return STREAM_WINDOW - (size_t)(r->end - r->base); }

ssize_t ring_read(struct ring *r, int fd)
{
	size_t room = ring_room(r), at = (size_t)(r->end & MASK), first;
	struct iovec v[2];
	ssize_t n;

	if (!have_memory(r)) {
		errno = ENOMEM;
		return -1;
	}
	first = STREAM_WINDOW - at < room ? STREAM_WINDOW - at : room;
	v[0] = (struct iovec){ r->memory + at, first };
	v[1] = (struct iovec){ r->memory, room - first };
	n = readv(fd, v, room > first ? 2 : 1);
	if (n > 0)
		r->end += (uint64_t)n;
	return n;
}

ssize_t ring_write(struct ring *r, int fd)
{
	size_t length;
	const uint8_t *p = ring_at(r, r->base, STREAM_WINDOW, &length);
	ssize_t n = write(fd, p, length);

	if (n > 0)
		r->base += (uint64_t)n;
	return n;
}

int ring_put(struct ring *r, const void *bytes, size_t length)
{
	size_t at = (size_t)(r->end & MASK), first;

	if (length > ring_room(r) || !have_memory(r))
		return -1;
	first = STREAM_WINDOW - at < length ? STREAM_WINDOW - at : length;
	if (length) {
		memcpy(r->memory + at, bytes, first);
		memcpy(r->memory, (const uint8_t *)bytes + first, length - first);
	}
	r->end += length;
	return 0;
}

const uint8_t *ring_at(const struct ring *r, uint64_t position, size_t most, size_t *length)
{
	size_t at = (size_t)(position & MASK), n = (size_t)(r->end - position);

	if (n > STREAM_WINDOW - at)
		n = STREAM_WINDOW - at;
	*length = n < most ? n : most;
	return r->memory + at;
}

void ring_free(struct ring *r)
{
	if (r->memory)
		munmap(r->memory, STREAM_WINDOW);
	r->memory = NULL;
}
