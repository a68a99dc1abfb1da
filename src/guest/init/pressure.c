#define _GNU_SOURCE
#include "pressure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot.h"
#include "file.h"
#include "scope.h"

uint64_t pressure_meminfo(const char *name)
{
	char text[4096], *at;

	if (file_read("/proc/meminfo", text, sizeof text) <= 0 || !(at = strstr(text, name)))
		return 0;
	return strtoull(at + strlen(name), NULL, 10) * 1024;
}

void pressure_memory(struct tlv_writer *w)
{
	tlv_put_u64(w, T_MEM_AVAILABLE, pressure_meminfo("MemAvailable:"));
	tlv_put_u64(w, T_MEM_TOTAL, pressure_meminfo("MemTotal:"));
}

static void put_psi(struct tlv_writer *w, const char *what)
{
	char path[64], text[512], line[600], *rest = text, *one;

	snprintf(path, sizeof path, "/proc/pressure/%s", what);
	if (file_read(path, text, sizeof text) <= 0)
		return;
	while ((one = strsep(&rest, "\n")))
		if (*one) {
			snprintf(line, sizeof line, "%s %s", what, one);
			tlv_put_text(w, T_PSI, line);
		}
}

static void put_session(void *user, uint64_t session, pid_t pid)
{
	struct scope_usage u;
	struct scope s;
	uint8_t b[32];

	(void)pid;
	snprintf(s.path, sizeof s.path, "/sys/fs/cgroup/caddis/s%llu", (unsigned long long)session);
	scope_usage(&s, &u);
	put64(b, session);
	put64(b + 8, u.cpu_usec);
	put64(b + 16, u.memory_bytes);
	put64(b + 24, u.memory_peak_bytes);
	tlv_put(user, T_SESSION_STAT, b, sizeof b);
}

/* What the group of all sessions counted since the machine was made: groups of sessions that are gone stay in its sums. */
static void put_job(struct tlv_writer *w, uint64_t *held_peak)
{
	struct scope s = { .path = SESSIONS_GROUP };
	struct scope_usage u;
	uint8_t b[48];

	scope_usage(&s, &u);
	if (u.held_bytes > *held_peak)
		*held_peak = u.held_bytes;
	/* A single process's resident peak counts pages of files, which the job need not hold. */
	if (u.memory_peak_bytes && u.memory_peak_bytes < *held_peak)
		*held_peak = u.memory_peak_bytes;
	put64(b, u.user_usec);
	put64(b + 8, u.system_usec);
	put64(b + 16, u.memory_bytes);
	put64(b + 24, u.memory_peak_bytes);
	put64(b + 32, u.held_bytes);
	put64(b + 40, *held_peak);
	tlv_put(w, T_JOB_STAT, b, sizeof b);
}

void pressure_document(struct tlv_writer *w, struct processes *p, uint64_t oom_kills, unsigned frozen, uint64_t *held_peak)
{
	char text[128];

	pressure_memory(w);
	put_psi(w, "memory");
	put_psi(w, "cpu");
	put_psi(w, "io");
	if (file_line("/proc/loadavg", text, sizeof text) > 0)
		tlv_put_text(w, T_LOADAVG, text);
	tlv_put_u64(w, T_OOM_KILLS, oom_kills);
	if (frozen)
		tlv_put_u64(w, T_FROZEN, frozen);
	put_job(w, held_peak);
	processes_each(p, put_session, w);
}
