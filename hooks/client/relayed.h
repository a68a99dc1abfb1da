/* Commands that were called inside the job and run here, beside the step's shim, as the job's user: the process side of sessions that caddisd opens. */
#ifndef CADDIS_RELAYED_H
#define CADDIS_RELAYED_H

#include "channel.h"
#include "process.h"

/* Ids of sessions that the guest opened (docs/protocol.md). */
#define GUEST_OPENED (1ull << 63)

struct relayed {
	struct processes *processes; /* NULL until the first command */
	struct channel *channel;
	int64_t host_signal_ms[65]; /* when this signal last came to the shim itself */
};

void relayed_init(struct relayed *r, struct channel *channel);
void relayed_frame(struct relayed *r, const struct frame *f);
/*
 * The scheduler signals every process of a step, so a relayed command gets `number` from it directly; when the same signal comes back through the guest's stub within a
 * few seconds it is dropped.
 */
void relayed_host_signal(struct relayed *r, int number);
/* The connection is gone: commands go on, their output waits. */
void relayed_disconnected(struct relayed *r);
void relayed_watch(struct relayed *r, struct pollset *set);
int relayed_timeout(const struct relayed *r);
void relayed_work(struct relayed *r, const struct pollset *set);
/* After SIGCHLD. */
void relayed_reap(struct relayed *r);
/* Kills what still runs. */
void relayed_free(struct relayed *r);

#endif
