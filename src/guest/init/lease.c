#define _GNU_SOURCE
#include "lease.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "clock.h"

/* A longer one would mean nothing, and could not be added to a clock. */
#define LEASE_MOST_MS (24ull * 3600 * 1000)
#define RETRY_MS 1000

static void thaw(struct agent *a)
{
	struct lease *l = &a->lease;
	char text[160];

	if (!(a->freezer.reasons & FREEZE_LEASE))
		return;
	if (freezer_set(&a->freezer, FREEZE_LEASE, 0)) {
		snprintf(text, sizeof text, "the job cannot be thawed though its lease is back: %s", strerror(errno));
		agent_log(a, 0, text);
		return;
	}
	snprintf(text, sizeof text, "the lease is back after %lld ms%s", (long long)(clock_ms() - l->frozen_ms),
		a->freezer.reasons ? ": the job stays frozen, it is paused as well" : ": the job goes on");
	l->unsaid = 0;
	agent_log(a, 1, text);
}

void lease_grant(struct agent *a, uint64_t ms)
{
	a->lease.until_ms = ms ? clock_ms() + (int64_t)(ms < LEASE_MOST_MS ? ms : LEASE_MOST_MS) : 0;
	a->lease.failed = 0;
	thaw(a);
}

static void freeze(struct agent *a)
{
	struct lease *l = &a->lease;
	char text[120];

	if (freezer_set(&a->freezer, FREEZE_LEASE, 1)) {
		snprintf(text, sizeof text, "the lease ran out and the job cannot be frozen: %s", strerror(errno));
		if (!l->failed)
			agent_log(a, 0, text);
		l->failed = 1;
		l->until_ms = clock_ms() + RETRY_MS;
		return;
	}
	l->frozen_ms = clock_ms();
	l->unsaid = 1;
}

void lease_work(struct agent *a)
{
	struct lease *l = &a->lease;

	if (l->until_ms && clock_ms() >= l->until_ms && !(a->freezer.reasons & FREEZE_LEASE))
		freeze(a);
	if (l->unsaid && a->link.up) {
		l->unsaid = 0;
		agent_log(a, 1, "no lease from caddisd in time: the job was frozen");
	}
}

int lease_timeout(const struct agent *a)
{
	int64_t left = a->lease.until_ms - clock_ms();

	if (!a->lease.until_ms || (a->freezer.reasons & FREEZE_LEASE))
		return -1;
	return left < 0 ? 0 : left < 60000 ? (int)left : 60000;
}
