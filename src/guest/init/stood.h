/*
 * After the machine stood still: the job waits until its NFS servers know the machine again. Between the end of a lease and the server's next look at its clients, nfs-ganesha answers every
 * request with NFS4ERR_EXPIRED, and the kernel makes that EIO wherever no open file is meant (docs/decisions/0060-after-standing-still.md).
 */
#ifndef CADDIS_STOOD_H
#define CADDIS_STOOD_H

#include <stdint.h>

#include "task.h"

struct agent;

struct stood {
	struct task probe; /* asks every NFS server once */
	int64_t since_ms; /* since when the job waits; 0: it does not */
	int64_t asked_ms; /* when the probe was sent */
	int64_t again_ms; /* when the next one is due; 0: one is under way */
};

void stood_init(struct stood *s);
/* CLOCK, before it is set: by how much the guest's clock is behind says for how long the machine stood still. */
void stood_clock(struct agent *a, uint64_t nanoseconds);
void stood_watch(struct agent *a, struct pollset *set);
void stood_work(struct agent *a, const struct pollset *set);
/* Milliseconds until stood_work has something to do, -1 for never. */
int stood_timeout(const struct agent *a);

#endif
