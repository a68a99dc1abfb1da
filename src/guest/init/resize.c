#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "boot.h"
#include "clock.h"
#include "file.h"
#include "mark.h"
#include "pressure.h"
#include "worker.h"

/* Hot-plugged memory was visible within 0.5 s, CPUs after 1 s (facts/vm.md); under TCG on a loaded host far later. */
#define RESIZE_WAIT_MS 30000
#define CPUS_MOST 4096

static int set_online(int cpu, int online)
{
	char path[80], now[8];

	snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/online", cpu);
	if (file_read(path, now, sizeof now) <= 0)
		return access(path, F_OK) ? -1 : 0;
	return (now[0] == '1') == online ? 0 : file_write(path, online ? "1" : "0");
}

/* cpu0 has no such file: it is always there. CPUs above the wanted ones go offline: a vCPU cannot be unplugged (facts/vm.md). */
static int try_cpus(uint64_t cpus)
{
	char path[80];

	for (int i = 1; i < (int)cpus; i++)
		if (set_online(i, 1))
			return -1;
	for (int i = (int)cpus; i < CPUS_MOST; i++) {
		snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d", i);
		if (access(path, F_OK))
			break;
		if (i > 0)
			set_online(i, 0);
	}
	return 0;
}

static int wait_for(struct job *j, const char *what, uint64_t wanted, int (*reached)(uint64_t))
{
	int64_t until = clock_ms() + RESIZE_WAIT_MS;
	char subject[64];

	while (reached(wanted)) {
		if (clock_ms() > until) {
			snprintf(subject, sizeof subject, "%llu wanted", (unsigned long long)wanted);
			errno = ETIMEDOUT;
			return job_failed(j, what, subject);
		}
		clock_sleep_ms(10);
	}
	return 0;
}

static int try_memory(uint64_t bytes) { return pressure_meminfo("MemTotal:") >= bytes ? 0 : -1; }

/* The shared memory that boot mounted is half of the base machine's; on a node it is half of the node's. What is in it counts against the job's memory anyway. */
static void grow_shared_memory(uint64_t bytes)
{
	char options[64];

	snprintf(options, sizeof options, "mode=1777,size=%llu", (unsigned long long)bytes);
	mount("tmpfs", "/dev/shm", "tmpfs", MS_REMOUNT | MS_NOSUID | MS_NODEV, options);
}

/*
 * The job's wall is exactly its request, or what it was grown to, though the machine is larger by what kernel and agent need (or much larger: the base shape).
 * memory.oom.group stays 0: the largest process goes, as natively, and a script may look at its child's status.
 */
static int set_wall(struct job *j, uint64_t bytes)
{
	if (mark_set_limit(SESSIONS_GROUP, "memory.max", bytes))
		return job_failed(j, "the job's memory limit", SESSIONS_GROUP "/memory.max");
	file_write(SESSIONS_GROUP "/memory.swap.max", "0");
	grow_shared_memory(bytes);
	return 0;
}

/* A wall that comes nearer kills whoever stands beyond it: the mark goes first, which stops what would grow meanwhile, and the wall follows only where there is room. */
static int lower_wall(struct job *j, uint64_t bytes, uint64_t mark)
{
	uint64_t before = mark_limit(SESSIONS_GROUP, "memory.high");

	mark_set_limit(SESSIONS_GROUP, "memory.high", mark && mark < bytes ? mark : bytes / 10 * 9);
	if (mark_held(SESSIONS_GROUP) < bytes / 10 * 9)
		return set_wall(j, bytes);
	mark_set_limit(SESSIONS_GROUP, "memory.high", before);
	errno = EBUSY;
	return job_failed(j, "the job's memory limit cannot be lowered", SESSIONS_GROUP);
}

/* `bytes`, `mark`: 0 = as it is. */
static int limit_sessions(struct job *j, uint64_t bytes, uint64_t mark)
{
	int lower = bytes && bytes < mark_limit(SESSIONS_GROUP, "memory.max") && mark_limit(SESSIONS_GROUP, "memory.max") != MARK_NONE;

	if (bytes && (lower ? lower_wall(j, bytes, mark) : set_wall(j, bytes)))
		return -1;
	if (mark && mark_set_limit(SESSIONS_GROUP, "memory.high", mark))
		return job_failed(j, "the mark below the job's memory limit", SESSIONS_GROUP "/memory.high");
	return 0;
}

int resize_machine(struct job *j, const uint8_t *document, size_t length)
{
	struct tlv_reader r = { document, document + length };
	const uint8_t *v;
	uint64_t wall = 0, mark = 0;
	uint32_t n;
	uint16_t tag;

	while (tlv_next(&r, &tag, &v, &n) == 1) {
		if (n < 8)
			continue;
		if (tag == T_CPUS && get64(v) >= 1 && get64(v) < CPUS_MOST) {
			if (wait_for(j, "CPUs online", get64(v), try_cpus))
				return -1;
			job_timing(j, "cpus");
		}
		if (tag == T_MEMORY && get64(v)) {
			if (wait_for(j, "bytes of memory", get64(v), try_memory))
				return -1;
			job_timing(j, "memory");
		}
		if (tag == T_JOB_MEMORY)
			wall = get64(v);
		if (tag == T_JOB_MARK)
			mark = get64(v);
	}
	return limit_sessions(j, wall, mark);
}
