#define _GNU_SOURCE
#include "pause.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"
#include "file.h"

/* A process that does not stop within this time hangs in the kernel, mostly in a network file system: the host must decide without it. */
#define STILL_MS 2000
#define LOOK_EVERY_MS 1
/* Where rootfs.c puts the scratch disk. */
#define SCRATCH "/run/caddis/scratch"

static const char *scratch(void)
{
#ifdef CADDIS_TEST
	if (getenv("CADDIS_TEST_SCRATCH"))
		return getenv("CADDIS_TEST_SCRATCH");
#endif
	return SCRATCH;
}

static int sync_scratch(struct job *j)
{
	int fd = open(scratch(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed;

	/* A machine that has no job yet has no scratch disk either. */
	if (fd < 0)
		return errno == ENOENT ? 0 : job_failed(j, "scratch disk", scratch());
	failed = syncfs(fd);
	if (failed)
		job_failed(j, "sync", scratch());
	close(fd);
	return failed ? -1 : 0;
}

/* In the child. */
static int settle(struct job *j, const uint8_t *what, size_t length)
{
	unsigned flags = length ? *what : 0;

	if (flags & PAUSE_SYNC) {
		if (sync_scratch(j))
			return -1;
		job_timing(j, "sync");
	}
	if (flags & PAUSE_DROP) {
		if (file_write("/proc/sys/vm/drop_caches", "3"))
			return job_failed(j, "caches", "/proc/sys/vm/drop_caches");
		job_timing(j, "drop");
	}
	return 0;
}

static void go_on(struct agent *a)
{
	struct job j = { .since_ms = clock_ms() };
	/* Caches of a host are not a test's to drop. */
	uint8_t flags = (uint8_t)(a->pause.flags & (a->guest ? PAUSE_SYNC | PAUSE_DROP : PAUSE_SYNC));

	a->pause.until_ms = 0;
	if (flags && a->freezer.group)
		task_start(&a->tasks[TASK_PAUSE], &j, settle, &flags, sizeof flags);
	else
		task_answer(&a->tasks[TASK_PAUSE], 0, "");
}

static void fail(struct agent *a, const char *what, int error)
{
	char text[160];

	a->pause.until_ms = 0;
	snprintf(text, sizeof text, "%s: %s", what, strerror(error));
	task_answer(&a->tasks[TASK_PAUSE], 1, text);
}

static void take_back(struct agent *a)
{
	if (a->pause.undo)
		freezer_set(&a->freezer, FREEZE_PAUSE, 0);
	a->pause.undo = 0;
}

/* The host gave up waiting for an earlier one, or thinks otherwise now: the newest counts, and each is answered. */
static void supersede(struct agent *a)
{
	struct task *t = &a->tasks[TASK_PAUSE];
	uint64_t request = t->request;

	task_say(t, &a->link);
	if (t->out < 0 && !a->pause.until_ms)
		return;
	a->pause.until_ms = 0;
	take_back(a);
	task_forget(t);
	task_begin(t, request);
	task_answer(t, 1, "another PAUSE came before this one was done");
	task_say(t, &a->link);
}

static void begin(struct agent *a, unsigned flags)
{
	struct pause *p = &a->pause;

	if (flags & ~(unsigned)(PAUSE_FREEZE | PAUSE_SYNC | PAUSE_DROP)) {
		fail(a, "PAUSE with a flag that is not known", EINVAL);
	} else if (!flags) {
		if (freezer_set(&a->freezer, FREEZE_PAUSE, 0))
			fail(a, "the job cannot be thawed", errno);
		else
			task_answer(&a->tasks[TASK_PAUSE], 0, "");
	} else if (!(flags & PAUSE_FREEZE)) {
		go_on(a);
	} else {
		p->undo = !(a->freezer.reasons & FREEZE_PAUSE);
		if (freezer_set(&a->freezer, FREEZE_PAUSE, 1))
			fail(a, "the job cannot be frozen", errno);
		else
			p->until_ms = clock_ms() + STILL_MS;
	}
}

void pause_frame(struct agent *a, const struct frame *f)
{
	supersede(a);
	task_begin(&a->tasks[TASK_PAUSE], f->session);
	a->pause.flags = f->flags;
	a->pause.undo = 0;
	begin(a, f->flags);
	pause_work(a);
}

void pause_work(struct agent *a)
{
	const struct task *t = &a->tasks[TASK_PAUSE];

	if (a->pause.until_ms && freezer_still(&a->freezer))
		go_on(a);
	else if (a->pause.until_ms && clock_ms() >= a->pause.until_ms)
		fail(a, "not every process of the job could be frozen within 2 s", ETIMEDOUT);
	/* Frozen in vain is of no use to anyone. */
	if (t->ready && t->failed)
		take_back(a);
}

int pause_timeout(const struct agent *a) { return a->pause.until_ms ? LOOK_EVERY_MS : -1; }
