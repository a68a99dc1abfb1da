#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "move_rig.h"
#include "tests.h"

char path_of[3][160];

void make(struct rig *r)
{
	static const char *const names[] = { "out", "err", "kept" };

	rig_make(r);
	rig_listen(r);
	for (int i = 0; i < 3; i++)
		snprintf(path_of[i], sizeof path_of[i], "%s/%s", r->dir, names[i]);
}

void start(struct rig *r, const int fds[3])
{
	rig_start(r, hook_path, (char *[]){ "caddis-hook", "--run", r->dir, "exec", "x", NULL }, (char *[]){ "CADDIS_KEY=slurm-1", NULL }, fds);
	CHECK(rig_open(r));
}

void open_now(struct rig *r) { rig_say(r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0); }

int file(const char *path, int flags, const char *text)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);

	CHECK(fd >= 0 && pwrite(fd, text, strlen(text), 0) == (ssize_t)strlen(text));
	return fd;
}

int holds(const char *path, const char *text)
{
	char got[512] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof got - 1);

	close(fd);
	if (n == (ssize_t)strlen(text) && !memcmp(got, text, (size_t)n))
		return 1;
	fprintf(stderr, "  (%s: expected \"%s\", got \"%s\")\n", path, text, got);
	return 0;
}

uint64_t moved(const struct rig *r, int stream, int field) { return get64(r->payload + 32 * (stream - 1) + 8 * field); }

void say_end(struct rig *r, int status) { rig_say(r, F_MOVED, STREAM_NONE, MOVED_END, (uint64_t)status, NULL, 0); }

void silent_end(struct rig *r)
{
	say_end(r, 0);
	CHECK(rig_wait(r, 5000) && exited(r, 0));
	CHECK(r->length[1] == 0);
}
