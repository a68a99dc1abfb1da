#define _GNU_SOURCE
#include "call.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

/* As many as caddisd takes (MAX_CPUS in open-document.ts). */
#define CPUS_MOST 8192

static void put_environment(const struct call *c, struct tlv_writer *w)
{
	for (char **e = environ; *e; e++) {
		if (!c->keep_caddis_variables && (!strncmp(*e, "CADDIS_ARGV0=", 13) || !strncmp(*e, "CADDIS_KEY=", 11)))
			continue;
		tlv_put_text(w, T_ENV, *e);
	}
}

static void put_directory(struct tlv_writer *w)
{
	char path[PATH_MAX];
	/* Not getcwd(3): this one also names a directory that was removed or cannot be read, and the other side fails with that name. */
	ssize_t n = readlink("/proc/self/cwd", path, sizeof path);

	if (n > 0)
		tlv_put(w, T_CWD, path, (size_t)n);
	else
		tlv_put_text(w, T_CWD, "/");
}

static void put_identity(struct tlv_writer *w)
{
	int n = getgroups(0, NULL);
	gid_t *groups = n > 0 ? calloc((size_t)n, sizeof *groups) : NULL;
	mode_t mask = umask(0);

	umask(mask);
	tlv_put_u64(w, T_UID, geteuid());
	tlv_put_u64(w, T_GID, getegid());
	tlv_put_u64(w, T_PID, (uint64_t)getpid());
	tlv_put_u64(w, T_UMASK, mask);
	n = groups ? getgroups(n, groups) : 0;
	for (int i = 0; i < n; i++)
		tlv_put_u64(w, T_GROUP, groups[i]);
	free(groups);
}

static void put_limits(struct tlv_writer *w)
{
	uint8_t b[24];

	for (int i = 0; i < 16; i++) { /* RLIM_NLIMITS, which musl calls differently */
		struct rlimit limit;

		if (getrlimit(i, &limit))
			continue;
		put64(b, (uint64_t)i);
		put64(b + 8, limit.rlim_cur);
		put64(b + 16, limit.rlim_max);
		tlv_put(w, T_RLIMIT, b, sizeof b);
	}
	errno = 0;
	tlv_put_u64(w, T_NICE, (uint64_t)(int64_t)getpriority(PRIO_PROCESS, 0));
}

static void put_cpus(struct tlv_writer *w)
{
	static unsigned long mask[CPUS_MOST / (8 * sizeof(unsigned long))];

	if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)(void *)mask))
		return;
	for (unsigned i = 0; i < CPUS_MOST; i++)
		if (mask[i / (8 * sizeof mask[0])] >> (i % (8 * sizeof mask[0])) & 1)
			tlv_put_u64(w, T_CPU, i);
}

static void put_stdio(const struct terminal *t, struct tlv_writer *w)
{
	uint8_t b[32];

	for (int fd = 0; fd < 3; fd++) {
		struct stat st;

		if (fstat(fd, &st))
			continue;
		put64(b, (uint64_t)fd);
		put64(b + 8, st.st_mode);
		put64(b + 16, st.st_dev);
		put64(b + 24, st.st_ino);
		tlv_put(w, T_STDIO, b, 32);
	}
	if (!t->is_terminal)
		return;
	put16(b, t->size.ws_row);
	put16(b + 2, t->size.ws_col);
	put16(b + 4, t->size.ws_xpixel);
	put16(b + 6, t->size.ws_ypixel);
	tlv_put(w, T_TTY, b, 8);
	tlv_put(w, T_TERMIOS, &t->normal, sizeof t->normal);
}

void call_describe(const struct call *c, const struct terminal *t, uint64_t session, struct tlv_writer *w)
{
	memset(w, 0, sizeof *w);
	if (c->verb)
		tlv_put_text(w, T_VERB, c->verb);
	if (session)
		tlv_put_u64(w, T_SESSION, session);
	if (c->first_arg)
		tlv_put_text(w, T_ARG, c->first_arg);
	for (char *const *a = c->args; *a; a++)
		tlv_put_text(w, T_ARG, *a);
	put_identity(w);
	put_directory(w);
	put_limits(w);
	put_cpus(w);
	put_stdio(t, w);
	put_environment(c, w);
}
