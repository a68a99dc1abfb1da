#define _GNU_SOURCE
#include "oom.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "file.h"

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

int kernel_log_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/* `...: Killed process 123 (name) total-vm:...` (mm/oom_kill.c). The name may hold anything, also parentheses: it ends at the last `) total-vm:`. */
static void look(char *line, void (*killed)(void *, pid_t, const char *), void *user)
{
	char *at = strstr(line, "Killed process "), *name, *end;
	long pid;

	if (!at)
		return;
	pid = strtol(at + 15, &name, 10);
	end = strstr(name, ") total-vm:");
	if (pid <= 0 || strncmp(name, " (", 2) || !end)
		return;
	*end = 0;
	killed(user, (pid_t)pid, name + 2);
}

void kernel_log_read(int fd, void (*killed)(void *user, pid_t pid, const char *name), void *user)
{
	char line[8192]; /* CONSOLE_EXT_LOG_MAX: the longest record */

	for (;;) {
		ssize_t n = read(fd, line, sizeof line - 1);

		if (n < 0 && errno == EPIPE)
			continue; /* records were overwritten before we came: go on with the oldest */
		if (n <= 0)
			return;
		line[n] = 0;
		look(line, killed, user);
	}
}

void kernel_log_write(int level, const char *text)
{
	static const int priority[] = { 3, 4, 6, 7 };
	char line[512];
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC), n;

	if (fd < 0)
		return;
	n = snprintf(line, sizeof line, "<%d>caddis: %s\n", priority[level & 3], text);
	if (write(fd, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1) < 0) {
		/* nowhere to say so */
	}
	close(fd);
}

/* The kernel sized these by the base machine's memory at boot; a grown machine would run out of threads (about 1,900) and files long before a node does. */
static void lift_boot_sized_limits(void)
{
	file_write("/proc/sys/kernel/threads-max", "1048576");
	file_write("/proc/sys/kernel/pid_max", "4194304");
	file_write("/proc/sys/fs/file-max", "9223372036854775807");
	file_write("/proc/sys/user/max_user_namespaces", "1048576");
}

void oom_prepare(void)
{
	file_write("/proc/self/oom_score_adj", "-1000");
	file_write("/proc/sys/vm/panic_on_oom", "0");
	/* The biggest goes, not whoever asks next: that is what users know from other systems. */
	file_write("/proc/sys/vm/oom_kill_allocating_task", "0");
	file_write("/proc/sys/vm/oom_dump_tasks", "0");
	/* On a big node no single allocation looks absurd to the kernel; in here one beyond the machine's memory would fail at once instead of when it is touched. */
	file_write("/proc/sys/vm/overcommit_memory", "1");
	lift_boot_sized_limits();
	/* On fault: the agent's buffers are mapped long before they are used. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
		kernel_log_write(1, "mlockall failed: the agent may be paged out");
}

unsigned long long oom_count(void)
{
	char text[16384], *at;

	if (file_read("/proc/vmstat", text, sizeof text) <= 0 || !(at = strstr(text, "\noom_kill ")))
		return 0;
	return strtoull(at + 10, NULL, 10);
}
