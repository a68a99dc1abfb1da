/*
 * The lease that caddisd grants: a machine whose caddisd is dead or cut off stops its job by itself, before a successor may start elsewhere. A machine that never got
 * one never stops.
 */
#ifndef CADDIS_LEASE_H
#define CADDIS_LEASE_H

#include <stdint.h>

#include "freeze.h"

struct agent;

struct lease {
	int64_t until_ms; /* 0: none was granted, or leasing was ended */
	int64_t frozen_ms; /* since when the job stands for want of one */
	int unsaid; /* the host has not been told of that: the link is mostly what failed */
	int failed; /* freezing failed: said once */
};

/* LEASE: `ms` from now; 0 ends leasing. What the lack of one froze goes on. */
void lease_grant(struct agent *a, uint64_t ms);
/* Freezes when it is time, and says so as soon as there is somebody to say it to. */
void lease_work(struct agent *a);
/* Milliseconds until lease_work has something to do, -1 for never. */
int lease_timeout(const struct agent *a);

#endif
