/*
 * PAUSE: the job stands still and its files are on the disk, for as long as the host saves or copies the machine. Freezing is done here, what may block by a child.
 */
#ifndef CADDIS_PAUSE_H
#define CADDIS_PAUSE_H

#include <stdint.h>

#include "frame.h"

struct agent;

struct pause {
	unsigned flags;
	int64_t until_ms; /* how long the processes are waited for; 0: they are not */
	int undo; /* it froze what was not frozen: its failure thaws again */
};

void pause_frame(struct agent *a, const struct frame *f);
/* Looks whether all stand still, goes on, and takes back what failed. */
void pause_work(struct agent *a);
/* Milliseconds until pause_work has something to do, -1 for never. */
int pause_timeout(const struct agent *a);

#endif
