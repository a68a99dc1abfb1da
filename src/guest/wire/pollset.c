#include "pollset.h"

#include <stdlib.h>

size_t pollset_add(struct pollset *set, int fd, short events)
{
	if (fd < 0)
		return POLLSET_NONE;
	if (set->count == set->capacity) {
		size_t capacity = set->capacity ? set->capacity * 2 : 32;
		struct pollfd *fds = realloc(set->fds, capacity * sizeof *fds);

		if (!fds)
			return POLLSET_NONE;
		set->fds = fds;
		set->capacity = capacity;
	}
	set->fds[set->count] = (struct pollfd){ .fd = fd, .events = events };
	return set->count++;
}

short pollset_events(const struct pollset *set, size_t place)
{
	return place < set->count ? set->fds[place].revents : 0;
}

void pollset_free(struct pollset *set)
{
	free(set->fds);
	*set = (struct pollset){ 0 };
}
