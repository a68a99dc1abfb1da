#define _GNU_SOURCE
#include "endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_DIRECTORY "/run/caddis"
/* sun_path of a unix socket, unix(7). */
#define PATH_BYTES 108

const char *endpoint_directory(const char *wanted)
{
	const char *asked = getenv("CADDIS_RUN");
	struct stat st;

	if (wanted)
		return wanted;
	/* A job's own environment reaches root's hooks: a directory where others can make sockets would let a job answer for caddisd. */
	if (asked && *asked && !stat(asked, &st) && st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH)))
		return asked;
	return DEFAULT_DIRECTORY;
}

static int is_number(const char *text) { return text && *text && strlen(text) <= 20 && strspn(text, "0123456789") == strlen(text); }

/* `slurm-17` or `gridengine-12.1`: nothing that leads elsewhere in the file system. */
static int is_key(const char *key)
{
	size_t n = strlen(key);

	return n > 0 && n < 64 && key[0] != '.' && strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789.-") == n;
}

static int find_key(char key[64])
{
	const char *given = getenv("CADDIS_KEY"), *job = getenv("JOB_ID"), *task = getenv("SGE_TASK_ID");

	if (given && *given) {
		if (!is_key(given))
			return -1;
		strcpy(key, given);
		return 0;
	}
	if (!task || !*task || !strcmp(task, "undefined"))
		task = "1";
	if (!is_number(job) || !is_number(task))
		return -1;
	snprintf(key, 64, "gridengine-%s.%s", job, task);
	return 0;
}

/* What a job's own user asks of the job's own socket. */
static int is_for_job(const char *verb)
{
	static const char *const verbs[] = { "exec", "suspend", "resume", "migrate", "checkpoint" };

	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (!strcmp(verb, verbs[i]))
			return 1;
	return 0;
}

static int too_long(const char **why)
{
	*why = "the runtime directory's name is too long for a unix socket";
	return -1;
}

int endpoint_path(const char *directory, const char *verb, int names_job, char path[PATH_BYTES], const char **why)
{
	const char *given = getenv("CADDIS_KEY");
	int of_job = is_for_job(verb) || (!strcmp(verb, "shell") && given && *given), n;
	char key[64];

	if (of_job && find_key(key)) {
		if (!names_job) {
			*why = "which job? expected CADDIS_KEY (slurm-17, gridengine-12.1), or Grid Engine's JOB_ID and SGE_TASK_ID, in the environment";
			return -1;
		}
		of_job = 0;
	}
	/* What users ask for themselves: a socket that is theirs. */
	if (!strcmp(verb, "advise") && geteuid() != 0) {
		n = snprintf(path, PATH_BYTES, "%s/users/%u.sock", directory, (unsigned)geteuid());
		return n >= 0 && n < PATH_BYTES ? 0 : too_long(why);
	}
	n = of_job ? snprintf(path, PATH_BYTES, "%s/jobs/%s/step.sock", directory, key) : snprintf(path, PATH_BYTES, "%s/hook.sock", directory);
	if (n >= 0 && n < PATH_BYTES)
		return 0;
	return too_long(why);
}
