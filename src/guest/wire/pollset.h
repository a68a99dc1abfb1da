/* The descriptors of one turn of a poll(2) loop: each owner adds its own and asks afterwards what came. */
#ifndef CADDIS_POLLSET_H
#define CADDIS_POLLSET_H

#include <poll.h>
#include <stddef.h>

struct pollset {
	struct pollfd *fds;
	size_t count, capacity;
};

#define POLLSET_NONE ((size_t)-1)

/* Watches `fd` for `events` (POLLERR and POLLHUP always come). Returns its place, POLLSET_NONE when out of memory or fd < 0. */
size_t pollset_add(struct pollset *set, int fd, short events);
/* What poll(2) reported at `place`; 0 for POLLSET_NONE. */
short pollset_events(const struct pollset *set, size_t place);
void pollset_free(struct pollset *set);

#endif
