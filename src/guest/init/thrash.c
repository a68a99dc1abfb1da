#include "thrash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "mark.h"
#include "oom.h"

/*
 * Shares of the last ten and sixty seconds in which nothing in the group could go on for want of memory: together they mean half a minute of standing still (28 % was
 * measured in a job that thrashed for two minutes). And the share of the limit that cannot be taken away.
 */
#define STALLED_10S 20
#define STALLED_60S 10
#define HELD_PERCENT 90

static int stalled(const char *path)
{
	char text[512], *full;
	int last10, last60;

	return file_read(path, text, sizeof text) > 0 && (full = strstr(text, "full avg10=")) &&
		sscanf(full, "full avg10=%d.%*d avg60=%d", &last10, &last60) == 2 && last10 >= STALLED_10S && last60 >= STALLED_60S;
}

/*
 * At its limit a job that has filled its memory may go on for minutes: the kernel takes the pages of its programs away, and each comes back from the image at once, so
 * that no allocation ever fails. Natively those pages mostly belong to nobody's limit. Then the limit goes down to what cannot be taken away, which makes the
 * kernel choose and kill as it does at the limit, and up again.
 */
void thrash_end(const char *group)
{
	char max[96], stat[96], pressure[96], limit[32], text[32];
	unsigned long long bytes, held;

	snprintf(max, sizeof max, "%s/memory.max", group);
	snprintf(stat, sizeof stat, "%s/memory.stat", group);
	snprintf(pressure, sizeof pressure, "%s/memory.pressure", group);
	/* What is held back at its mark waits for its host (mark.h). */
	if (mark_limit(group, "memory.high") != MARK_NONE)
		return;
	if (!stalled(pressure) || file_read(max, limit, sizeof limit) <= 0 || !(bytes = strtoull(limit, NULL, 10)))
		return;
	held = file_number(stat, "anon ") + file_number(stat, "shmem ") + file_number(stat, "kernel ");
	if (held < bytes / 100 * HELD_PERCENT)
		return; /* stalled, but not for want of memory: it is the disk that its cache waits for */
	kernel_log_write(1, "the job's memory limit is reached and its programs' own pages come and go: ending the largest process");
	snprintf(text, sizeof text, "%llu", held / 100 * (HELD_PERCENT - 5));
	file_write(max, text);
	file_write(max, limit);
}
