/* The processes of one session: a cgroup of its own in the guest, the process group elsewhere. */
#ifndef CADDIS_SCOPE_H
#define CADDIS_SCOPE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct scope {
	char path[128]; /* cgroup directory; empty: none */
};

struct scope_usage {
	uint64_t cpu_usec, user_usec, system_usec;
	/* Page cache and all; without what the kernel would give back (caches). */
	uint64_t memory_bytes, memory_peak_bytes, held_bytes;
	uint64_t oom_kills;
};

/* Makes the cgroup `root`/s<session>; on failure (or root NULL) the scope is the process group. */
void scope_make(struct scope *s, const char *root, uint64_t session);
/* Called in the child: moves it into the scope. Returns 0 or -1 with errno. */
int scope_enter(const struct scope *s);
/* Signals every process of the scope; `leader` is the main process (0 when it is gone). */
void scope_signal(const struct scope *s, pid_t leader, int signal_number);
/* SIGKILL to all of it, race free where there is a cgroup. */
void scope_kill(const struct scope *s, pid_t leader);
/* 1 when no process is left in it (always, without a cgroup). */
int scope_empty(const struct scope *s);
/* What the cgroup counted; zeros without one. */
/* The limit of all scopes together, which may have changed since they were made; 0: none. */
uint64_t scope_wall(const struct scope *s);
void scope_usage(const struct scope *s, struct scope_usage *usage);
void scope_remove(struct scope *s);

#endif
