#define _GNU_SOURCE
#include "modprobe.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "oom.h"

#define NAME_MOST 256
/* An alias may have several modules; the kernel's own modprobe loads them all. */
#define ALIASES_MOST 8

int modprobe_file(const char *path, const char *options)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), failed, error;

	if (fd < 0)
		return -1;
	failed = syscall(SYS_finit_module, fd, options, 0) && errno != EEXIST;
	error = errno;
	close(fd);
	errno = error;
	return failed ? -1 : 0;
}

static void underscores(char *s)
{
	for (; *s; s++)
		if (*s == '-')
			*s = '_';
}

static FILE *open_list(const char *name)
{
	char path[512];
	struct utsname u;

	if (uname(&u))
		return NULL;
	snprintf(path, sizeof path, "/lib/modules/%s/%s", u.release, name);
	return fopen(path, "re");
}

/* `kernel/fs/nfs/nfsv4.ko` -> nfsv4, with underscores; 0 if it is no module's file. */
static int module_name(const char *path, size_t length, char out[NAME_MOST])
{
	const char *end = path + length, *base = path, *dot;

	for (const char *p = path; p < end; p++)
		if (*p == '/')
			base = p + 1;
	dot = memmem(base, (size_t)(end - base), ".ko", 3);
	if (!dot || (size_t)(dot - base) >= NAME_MOST)
		return 0;
	memcpy(out, base, (size_t)(dot - base));
	out[dot - base] = 0;
	underscores(out);
	return 1;
}

static void options_of(const char *name, char *out, size_t size)
{
	FILE *f = fopen(MODPROBE_OPTIONS, "re");
	size_t n = strlen(name);

	out[0] = 0;
	if (!f)
		return;
	while (fgets(out, (int)size, f)) {
		out[strcspn(out, "\n")] = 0;
		if (!strncmp(out, name, n) && out[n] == ' ') {
			memmove(out, out + n + 1, strlen(out + n + 1) + 1);
			fclose(f);
			return;
		}
	}
	out[0] = 0;
	fclose(f);
}

static int load(const char *relative, size_t length)
{
	char path[1024], name[NAME_MOST], options[512], text[1400];
	struct utsname u;

	if (uname(&u) || !module_name(relative, length, name))
		return -1;
	snprintf(path, sizeof path, "/lib/modules/%s/%.*s", u.release, (int)length, relative);
	options_of(name, options, sizeof options);
	if (modprobe_file(path, options) == 0)
		return 0;
	snprintf(text, sizeof text, "module %s: %s", path, strerror(errno));
	kernel_log_write(1, text);
	return -1;
}

/* modules.dep: `path: dependency dependency ...`, the deepest last. */
static int load_by_name(const char *wanted)
{
	FILE *f = open_list("modules.dep");
	char *line = NULL, name[NAME_MOST];
	size_t size = 0;
	int result = -1;

	if (!f)
		return -1;
	while (getline(&line, &size, f) > 0) {
		char *colon = strchr(line, ':'), *end;

		if (!colon || !module_name(line, (size_t)(colon - line), name) || strcmp(name, wanted))
			continue;
		end = line + strcspn(line, "\n");
		for (char *p = end; p > colon; p--)
			if (p[-1] == ' ' && p < end && *p != ' ')
				load(p, strcspn(p, " \n"));
		result = load(line, (size_t)(colon - line));
		break;
	}
	free(line);
	fclose(f);
	return result;
}

/* modules.alias: `alias pattern module`. */
static int find_aliases(const char *wanted, char found[ALIASES_MOST][NAME_MOST])
{
	FILE *f = open_list("modules.alias");
	char *line = NULL;
	size_t size = 0;
	int n = 0;

	if (!f)
		return 0;
	while (n < ALIASES_MOST && getline(&line, &size, f) > 0) {
		char *pattern = line + 6, *module;

		if (strncmp(line, "alias ", 6) || !(module = strchr(pattern, ' ')))
			continue;
		*module++ = 0;
		module[strcspn(module, "\n")] = 0;
		underscores(pattern);
		if (strlen(module) < NAME_MOST && fnmatch(pattern, wanted, 0) == 0)
			strcpy(found[n++], module);
	}
	free(line);
	fclose(f);
	return n;
}

int modprobe(const char *name)
{
	char wanted[NAME_MOST], found[ALIASES_MOST][NAME_MOST];
	int n, loaded = 0;

	if (strlen(name) >= sizeof wanted)
		return 1;
	strcpy(wanted, name);
	underscores(wanted);
	if (load_by_name(wanted) == 0)
		return 0;
	n = find_aliases(wanted, found);
	for (int i = 0; i < n; i++)
		loaded |= load_by_name(found[i]) == 0;
	return loaded ? 0 : 1;
}
