#define _GNU_SOURCE
#include "describe.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static void put_cwd(struct tlv_writer *w)
{
	char path[PATH_MAX + 1];
	ssize_t n;

	if (getcwd(path, sizeof path)) {
		tlv_put_text(w, T_CWD, path);
		return;
	}
	/* Deleted or unreachable: the kernel still has a name for it. */
	n = readlink("/proc/self/cwd", path, PATH_MAX);
	tlv_put(w, T_CWD, path, n > 0 ? (size_t)n : 0);
}

static void put_groups(struct tlv_writer *w)
{
	int n = getgroups(0, NULL);
	gid_t *groups = n > 0 ? malloc((size_t)n * sizeof *groups) : NULL;

	if (!groups)
		return;
	n = getgroups(n, groups);
	for (int i = 0; i < n; i++)
		tlv_put_u64(w, T_GROUP, groups[i]);
	free(groups);
}

static void put_limits(struct tlv_writer *w)
{
	for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
		struct rlimit limit;
		uint8_t b[24];

		if (getrlimit(resource, &limit) < 0)
			continue;
		put64(b, (uint64_t)resource);
		put64(b + 8, limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur);
		put64(b + 16, limit.rlim_max == RLIM_INFINITY ? UINT64_MAX : limit.rlim_max);
		tlv_put(w, T_RLIMIT, b, sizeof b);
	}
}

static void put_cpus(struct tlv_writer *w)
{
	unsigned long mask[1024 / sizeof(unsigned long)]; /* 8,192 CPUs, the kernel's bound */

	memset(mask, 0, sizeof mask);
	if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)(void *)mask) < 0)
		return;
	for (size_t cpu = 0; cpu < sizeof mask * 8; cpu++)
		if (mask[cpu / (8 * sizeof *mask)] >> cpu % (8 * sizeof *mask) & 1)
			tlv_put_u64(w, T_CPU, cpu);
}

static void put_stdio(struct tlv_writer *w)
{
	for (int fd = 0; fd < 3; fd++) {
		struct stat st;
		uint8_t b[32];

		if (fstat(fd, &st) < 0)
			continue;
		put64(b, (uint64_t)fd);
		put64(b + 8, st.st_mode);
		put64(b + 16, st.st_dev);
		put64(b + 24, st.st_ino);
		tlv_put(w, T_STDIO, b, sizeof b);
	}
}

int describe_terminal(int fd, uint8_t size[8])
{
	struct winsize ws;

	if (ioctl(fd, TIOCGWINSZ, &ws) < 0)
		return -1;
	put16(size, ws.ws_row);
	put16(size + 2, ws.ws_col);
	put16(size + 4, ws.ws_xpixel);
	put16(size + 6, ws.ws_ypixel);
	return 0;
}

static void put_terminal(struct tlv_writer *w)
{
	struct termios termios;
	uint8_t size[8];

	if (describe_terminal(STDIN_FILENO, size) < 0)
		return;
	tlv_put(w, T_TTY, size, sizeof size);
	if (tcgetattr(STDIN_FILENO, &termios) == 0)
		tlv_put(w, T_TERMIOS, &termios, sizeof termios);
}

void describe_process(struct tlv_writer *w, const char *verb, char **argv, char **env, uint64_t session, int tty)
{
	mode_t mask = umask(0);

	umask(mask);
	if (verb)
		tlv_put_text(w, T_VERB, verb);
	if (session)
		tlv_put_u64(w, T_SESSION, session);
	for (; *argv; argv++)
		tlv_put_text(w, T_ARG, *argv);
	for (; *env; env++)
		tlv_put_text(w, T_ENV, *env);
	put_cwd(w);
	tlv_put_u64(w, T_UID, getuid());
	tlv_put_u64(w, T_GID, getgid());
	put_groups(w);
	tlv_put_u64(w, T_UMASK, mask);
	put_limits(w);
	put_cpus(w);
	tlv_put_u64(w, T_PID, (uint64_t)getpid());
	tlv_put_u64(w, T_NICE, (uint64_t)(int64_t)getpriority(PRIO_PROCESS, 0));
	put_stdio(w);
	if (tty)
		put_terminal(w);
}
