#define _GNU_SOURCE
#include "scope.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void scope_make(struct scope *s, const char *root, uint64_t session)
{
	int n;

	s->path[0] = 0;
	if (!root)
		return;
	n = snprintf(s->path, sizeof s->path, "%s/s%llu", root, (unsigned long long)session);
	if (n < 0 || (size_t)n >= sizeof s->path || (mkdir(s->path, 0755) && errno != EEXIST))
		s->path[0] = 0;
}

static int open_file(const struct scope *s, const char *name, int flags)
{
	char path[192];

	snprintf(path, sizeof path, "%s/%s", s->path, name);
	return open(path, flags | O_CLOEXEC);
}

static int write_file(const struct scope *s, const char *name, const char *text)
{
	int fd = open_file(s, name, O_WRONLY), ok;

	if (fd < 0)
		return -1;
	ok = write(fd, text, strlen(text)) > 0;
	close(fd);
	return ok ? 0 : -1;
}

static int read_file(const struct scope *s, const char *name, char *text, size_t size)
{
	int fd = open_file(s, name, O_RDONLY);
	ssize_t n;

	text[0] = 0;
	if (fd < 0)
		return -1;
	n = read(fd, text, size - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	return n < 0 ? -1 : 0;
}

int scope_enter(const struct scope *s) { return s->path[0] ? write_file(s, "cgroup.procs", "0") : 0; }

void scope_signal(const struct scope *s, pid_t leader, int signal_number)
{
	FILE *f;
	int fd;
	long pid;

	if (!s->path[0]) {
		if (leader > 0 && kill(-leader, signal_number) && errno == ESRCH)
			kill(leader, signal_number);
		return;
	}
	if (signal_number == SIGKILL && write_file(s, "cgroup.kill", "1") == 0)
		return;
	fd = open_file(s, "cgroup.procs", O_RDONLY);
	f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while (fscanf(f, "%ld", &pid) == 1)
		if (pid > 1)
			kill((pid_t)pid, signal_number);
	fclose(f);
}

void scope_kill(const struct scope *s, pid_t leader) { scope_signal(s, leader, SIGKILL); }

int scope_empty(const struct scope *s)
{
	char text[256];

	return !s->path[0] || read_file(s, "cgroup.events", text, sizeof text) || strstr(text, "populated 0");
}

static uint64_t field(const char *text, const char *name)
{
	const char *p = text;
	size_t n = strlen(name);

	while (p && *p) {
		if (!strncmp(p, name, n) && p[n] == ' ')
			return strtoull(p + n + 1, NULL, 10);
		p = strchr(p, '\n');
		if (p)
			p++;
	}
	return 0;
}

uint64_t scope_wall(const struct scope *s)
{
	char text[32];

	if (!s->path[0] || read_file(s, "../memory.max", text, sizeof text))
		return 0;
	return strtoull(text, NULL, 10);
}

void scope_usage(const struct scope *s, struct scope_usage *usage)
{
	char text[4096];

	*usage = (struct scope_usage){ 0 };
	if (!s->path[0])
		return;
	if (!read_file(s, "cpu.stat", text, sizeof text)) {
		usage->cpu_usec = field(text, "usage_usec");
		usage->user_usec = field(text, "user_usec");
		usage->system_usec = field(text, "system_usec");
	}
	if (!read_file(s, "memory.current", text, sizeof text))
		usage->memory_bytes = strtoull(text, NULL, 10);
	if (!read_file(s, "memory.peak", text, sizeof text))
		usage->memory_peak_bytes = strtoull(text, NULL, 10);
	if (!read_file(s, "memory.stat", text, sizeof text)) {
		uint64_t kernel = field(text, "kernel"), reclaimable = field(text, "slab_reclaimable");

		usage->held_bytes = field(text, "anon") + field(text, "shmem") + (kernel > reclaimable ? kernel - reclaimable : 0);
	}
	if (!read_file(s, "memory.events", text, sizeof text))
		usage->oom_kills = field(text, "oom_kill");
}

void scope_remove(struct scope *s)
{
	if (s->path[0])
		rmdir(s->path);
	s->path[0] = 0;
}
