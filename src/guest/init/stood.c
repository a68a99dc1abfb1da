#define _GNU_SOURCE
#include "stood.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"

/* No lease is that short, and the clock of a busy host's guest is not that far off. */
#define STOOD_LEAST_MS 2000
#define AGAIN_MS 200
/* A server that says nothing at all is not what is waited for: whoever needs it waits by himself. */
#define SILENT_MS 5000
/* Half of the longest lease of nfs-ganesha (120 s), after which it has looked at its clients, and some time to recover. */
#define WAIT_MOST_MS 75000
#define LINE_MOST 8192
/* linux/stat.h, which musl does not bring */
#define STATX_BASIC_STATS_ 0x7ffu

/* Octal escapes of /proc/mounts (blank, tab, newline, backslash), in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] && from[3]) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = 0;
}

static int is_refused(const char *path)
{
	uint8_t st[512]; /* struct statx: 256 bytes */

	/* From the server, whatever is cached. Any other answer comes from one that knows us. */
	return syscall(SYS_statx, AT_FDCWD, path, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS_, st) && errno == EIO;
}

/* In the child: fails when a server does not know the machine. */
static int ask(struct job *j, const uint8_t *what, size_t length)
{
	char line[LINE_MOST], *rest, *path, *type;
	FILE *f = fopen("/proc/mounts", "re");
	int refused = 0;

	(void)what;
	(void)length;
	while (f && !refused && fgets(line, sizeof line, f)) {
		rest = line;
		strsep(&rest, " ");
		path = strsep(&rest, " ");
		type = strsep(&rest, " ");
		if (!type || strcmp(type, "nfs4"))
			continue;
		unescape(path);
		refused = is_refused(path);
	}
	if (f)
		fclose(f);
	return refused ? job_failed(j, "statx", path) : 0;
}

static void send_probe(struct agent *a)
{
	struct job j = { .since_ms = clock_ms() };

	a->stood.asked_ms = j.since_ms;
	a->stood.again_ms = 0;
	task_begin(&a->stood.probe, 0);
	task_start(&a->stood.probe, &j, ask, NULL, 0);
}

static void go_on(struct agent *a, const char *how)
{
	struct stood *s = &a->stood;
	char text[160];

	if (freezer_set(&a->freezer, FREEZE_STOOD, 0)) {
		s->again_ms = clock_ms() + AGAIN_MS;
		return;
	}
	if (how) {
		snprintf(text, sizeof text, "the machine stood still: the job waited %lld ms for its NFS servers%s", (long long)(clock_ms() - s->since_ms), how);
		agent_log(a, 1, text);
	}
	s->since_ms = 0;
	task_forget(&s->probe);
}

void stood_init(struct stood *s)
{
	memset(s, 0, sizeof *s);
	s->probe.out = -1;
}

void stood_clock(struct agent *a, uint64_t nanoseconds)
{
	struct stood *s = &a->stood;

	/* Before the machine is set up there is no job, and no mount. */
	if ((a->guest && !a->relay) || clock_behind_ms(nanoseconds) < STOOD_LEAST_MS || freezer_set(&a->freezer, FREEZE_STOOD, 1))
		return;
	task_forget(&s->probe);
	if (!s->since_ms)
		s->since_ms = clock_ms();
	send_probe(a);
}

void stood_watch(struct agent *a, struct pollset *set) { task_watch(&a->stood.probe, set); }

void stood_work(struct agent *a, const struct pollset *set)
{
	struct stood *s = &a->stood;
	int64_t now = clock_ms();

	task_work(&s->probe, set);
	if (!s->since_ms)
		return;
	if (s->again_ms) {
		if (now >= s->again_ms)
			send_probe(a);
	} else if (s->probe.ready && !s->probe.failed) {
		go_on(a, now - s->since_ms > AGAIN_MS ? "" : NULL);
	} else if (now - s->since_ms > WAIT_MOST_MS) {
		go_on(a, ", which still know nothing of it");
	} else if (s->probe.ready) {
		s->again_ms = now + AGAIN_MS;
	} else if (now - s->asked_ms > SILENT_MS) {
		go_on(a, ", which do not answer");
	}
}

int stood_timeout(const struct agent *a)
{
	const struct stood *s = &a->stood;
	int64_t due = s->again_ms ? s->again_ms : s->asked_ms + SILENT_MS + 1, left = due - clock_ms();

	return !s->since_ms ? -1 : left > 0 ? (int)left : 0;
}
