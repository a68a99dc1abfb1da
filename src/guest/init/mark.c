#define _GNU_SOURCE
#include "mark.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"
#include "file.h"

/* At most so often is a report sent before its second is over. */
#define URGE_EVERY_MS 200
/* A caddisd that is started again is back within some seconds; a job is not held back for longer than this for want of one. */
#define HOST_AWAY_MS 60000

static void path_of(char *path, size_t size, const char *group, const char *name) { snprintf(path, size, "%s/%s", group, name); }

uint64_t mark_held(const char *group)
{
	char path[96];
	uint64_t kernel, slab;

	path_of(path, sizeof path, group, "memory.stat");
	kernel = file_number(path, "kernel ");
	slab = file_number(path, "slab_reclaimable ");
	return file_number(path, "anon ") + file_number(path, "shmem ") + (kernel > slab ? kernel - slab : 0);
}

uint64_t mark_limit(const char *group, const char *name)
{
	char path[96], text[32];

	path_of(path, sizeof path, group, name);
	if (file_read(path, text, sizeof text) <= 0 || !strncmp(text, "max", 3))
		return MARK_NONE;
	return strtoull(text, NULL, 10);
}

int mark_set_limit(const char *group, const char *name, uint64_t bytes)
{
	char path[96], text[32];

	path_of(path, sizeof path, group, name);
	snprintf(text, sizeof text, "%" PRIu64, bytes);
	return file_write(path, bytes == MARK_NONE ? "max" : text);
}

void mark_report(struct mark *m, struct tlv_writer *w)
{
	uint64_t high;
	uint8_t b[24];

	if (!m->group)
		return;
	high = mark_limit(m->group, "memory.high");
	m->armed = high != MARK_NONE;
	put64(b, mark_held(m->group));
	put64(b + 8, mark_limit(m->group, "memory.max"));
	put64(b + 16, high);
	tlv_put(w, T_JOB_USE, b, sizeof b);
}

void mark_open(struct mark *m, const char *group)
{
	char path[96];

	*m = (struct mark){ .group = group, .events = -1, .place = POLLSET_NONE };
	if (!group)
		return;
	path_of(path, sizeof path, group, "memory.events");
	m->events = open(path, O_RDONLY | O_CLOEXEC);
}

int mark_timeout(const struct mark *m)
{
	int64_t left = m->quiet_until_ms - clock_ms();

	return m->armed && left > 0 ? (int)left : -1;
}

void mark_watch(struct mark *m, struct pollset *set)
{
	m->place = m->armed && mark_timeout(m) < 0 ? pollset_add(set, m->events, POLLPRI) : POLLSET_NONE;
}

/* A read is what makes the next event wake us. */
static unsigned long long highs(int fd)
{
	char text[512], *at;
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	text[n > 0 ? n : 0] = 0;
	at = strstr(text, "high ");
	return at ? strtoull(at + 5, NULL, 10) : 0;
}

void mark_work(struct agent *a, const struct pollset *set)
{
	struct mark *m = &a->mark;
	unsigned long long now;

	if (!pollset_events(set, m->place))
		return;
	m->quiet_until_ms = clock_ms() + URGE_EVERY_MS;
	now = highs(m->events);
	/* What fills the memory with a cache passes the mark all the time, and loses nothing there. */
	if (now != m->highs && mark_held(m->group) >= mark_limit(m->group, "memory.high") / 10 * 9)
		a->pressure_at_ms = clock_ms();
	m->highs = now;
}

void mark_look(struct agent *a)
{
	struct mark *m = &a->mark;
	uint64_t high;

	if (!m->group || (high = mark_limit(m->group, "memory.high")) == MARK_NONE || mark_held(m->group) < high) {
		if (m->group)
			m->over_since_ms = 0;
		return;
	}
	if (!m->over_since_ms)
		m->over_since_ms = clock_ms();
	if (clock_ms() - m->over_since_ms < HOST_AWAY_MS)
		return;
	m->over_since_ms = 0;
	agent_log(a, 1, "nobody has answered a job that has passed its mark: it goes on to its wall");
	mark_set_limit(m->group, "memory.high", MARK_NONE);
}
