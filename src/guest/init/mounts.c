#define _GNU_SOURCE
#include "mounts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

#define STUB "/run/caddis/stub"
#define TEXT_MOST 4096

static const struct { const char *name; unsigned long set, clear; } flag_names[] = {
	{ "ro", MS_RDONLY, 0 }, { "rw", 0, MS_RDONLY }, { "nosuid", MS_NOSUID, 0 }, { "suid", 0, MS_NOSUID }, { "nodev", MS_NODEV, 0 },
	{ "dev", 0, MS_NODEV }, { "noexec", MS_NOEXEC, 0 }, { "exec", 0, MS_NOEXEC }, { "noatime", MS_NOATIME, 0 },
	{ "nodiratime", MS_NODIRATIME, 0 }, { "relatime", MS_RELATIME, 0 }, { "strictatime", MS_STRICTATIME, 0 }, { "sync", MS_SYNCHRONOUS, 0 },
	{ "bind", MS_BIND, 0 }, { "rbind", MS_BIND | MS_REC, 0 }, { "defaults", 0, 0 }, { "_netdev", 0, 0 }, { "auto", 0, 0 }, { "noauto", 0, 0 },
};

/* Splits mount(8)'s options into flags and what the file system itself reads. */
static unsigned long split_options(char *options, char data[TEXT_MOST])
{
	unsigned long flags = 0;
	char *one;

	data[0] = 0;
	while ((one = strsep(&options, ","))) {
		size_t i, count = sizeof flag_names / sizeof *flag_names;

		for (i = 0; i < count && strcmp(one, flag_names[i].name); i++)
			;
		if (i < count) {
			flags = (flags | flag_names[i].set) & ~flag_names[i].clear;
		} else if (*one) {
			if (data[0])
				strcat(data, ",");
			strcat(data, one);
		}
	}
	return flags;
}

static int is_mounted(const char *source, const char *target)
{
	char line[2 * TEXT_MOST], wanted[2 * TEXT_MOST];
	FILE *f = fopen("/proc/mounts", "re");
	int found = 0;

	if (!f)
		return 0;
	snprintf(wanted, sizeof wanted, "%s %s ", source, target);
	while (!found && fgets(line, sizeof line, f))
		found = !strncmp(line, wanted, strlen(wanted));
	fclose(f);
	return found;
}

int mounts_add(struct job *j, const char *text)
{
	char copy[TEXT_MOST], data[TEXT_MOST], *rest = copy, *type, *source, *target, *options, none[1] = "";
	unsigned long flags;

	snprintf(copy, sizeof copy, "%s", text);
	type = strsep(&rest, "\t");
	source = strsep(&rest, "\t");
	target = strsep(&rest, "\t");
	options = rest ? rest : none;
	if (!source || !target || target[0] != '/' || strlen(text) >= TEXT_MOST) {
		errno = EINVAL;
		return job_failed(j, "mount", text);
	}
	if (is_mounted(source, target))
		return 0;
	flags = split_options(options, data);
	file_directory(target, 0755);
	if (mount(source, target, type, flags, data)) {
		snprintf(data, sizeof data, "%.200s on %.200s (%.40s)", source, target, type);
		return job_failed(j, "mount", data);
	}
	return 0;
}

static int bind_over(const char *source, const char *target)
{
	struct stat st;

	if (stat(source, &st))
		return -1;
	if (S_ISDIR(st.st_mode) ? file_directory(target, 0755) : 0)
		return -1;
	if (!S_ISDIR(st.st_mode) && access(target, F_OK)) {
		file_parents(target);
		if (file_put(target, "", 0, 0644))
			return -1;
	}
	return mount(source, target, NULL, MS_BIND | MS_REC, NULL);
}

int mounts_bind(struct job *j, const char *text)
{
	char copy[TEXT_MOST], *target;

	snprintf(copy, sizeof copy, "%s", text);
	target = strchr(copy, '\t');
	if (!target) {
		errno = EINVAL;
		return job_failed(j, "bind", text);
	}
	*target++ = 0;
	return bind_over(copy, target) ? job_failed(j, "bind", text) : 0;
}

int mounts_stub(struct job *j, const char *path)
{
	struct stat there, stub;

	if (stat(STUB, &stub))
		return job_failed(j, "the relay stub is not in this image", STUB);
	if (stat(path, &there)) {
		file_parents(path);
		unlink(path);
		return symlink(STUB, path) ? job_failed(j, "relay stub", path) : 0;
	}
	if (there.st_ino == stub.st_ino && there.st_dev == stub.st_dev)
		return 0; /* several names of one program: covered already */
	return mount(STUB, path, NULL, MS_BIND, NULL) ? job_failed(j, "relay stub", path) : 0;
}
