/*
 * The mark below the job's wall (memory.high of the sessions' cgroup): whoever allocates beyond it is slowed down by the kernel until the host has answered, so that a
 * job which grows fast meets no wall before the host could move it.
 */
#ifndef CADDIS_MARK_H
#define CADDIS_MARK_H

#include <stdint.h>

#include "frame.h"
#include "pollset.h"

#define MARK_NONE UINT64_MAX

struct agent;

struct mark {
	const char *group; /* NULL: none */
	int events; /* memory.events, which poll(2) reports with POLLPRI; -1 */
	size_t place;
	int armed; /* there is a mark, as of the last report: else what happens at the wall would wake us for nothing */
	unsigned long long highs; /* how often the mark was passed, as last seen */
	int64_t quiet_until_ms, over_since_ms; /* 0: not over it */
};

void mark_open(struct mark *m, const char *group);
void mark_watch(struct mark *m, struct pollset *set);
/* Milliseconds until it must be watched again; -1: it is, or need not be. */
int mark_timeout(const struct mark *m);
/* Has the report sent at once when the mark was passed. */
void mark_work(struct agent *a, const struct pollset *set);
/* Once a second: a host that does not answer leaves the job to its wall. */
void mark_look(struct agent *a);
/* What the job holds, its wall and its mark: JOB_USE. */
void mark_report(struct mark *m, struct tlv_writer *w);

/* Bytes that the kernel cannot take back from the group, and its limits; MARK_NONE: none. */
uint64_t mark_held(const char *group);
uint64_t mark_limit(const char *group, const char *name);
int mark_set_limit(const char *group, const char *name, uint64_t bytes);

#endif
