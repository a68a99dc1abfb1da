#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "start.h"

int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void session_fail(struct session *s, int error, const char *message)
{
	s->exit_kind = EXIT_NOT_STARTED;
	s->exit_value = (uint32_t)error;
	snprintf(s->message, sizeof s->message, "%s", message);
	streams_close_output(s);
	if (s->in.fd >= 0)
		close(s->in.fd);
	s->in.fd = -1;
	s->state = EXITED;
	s->want_exit = 1;
}

void session_open(struct session *s, const struct process_host *host, const uint8_t *document, size_t length)
{
	struct start_failure failure;
	struct started started;
	char message[560];

	s->in.fd = s->out[0].fd = s->out[1].fd = s->report = -1;
	s->in.place = s->out[0].place = s->out[1].place = s->report_place = POLLSET_NONE;
	s->attached = 1;
	scope_make(&s->scope, host->cgroup, s->id);
	if (start_program(document, length, &s->scope, host->cgroup != NULL, &started, &failure)) {
		snprintf(message, sizeof message, "%s: %s", failure.what, strerror(failure.error));
		session_fail(s, failure.error, message);
		return;
	}
	s->state = STARTING;
	s->pid = s->main_pid = started.pid;
	s->report = started.report;
	s->tty = started.tty;
	s->merged = started.merged;
	s->out[0].fd = started.out;
	s->out[1].fd = started.err;
	/* A descriptor of its own for each direction, so that each is closed by its own rule. */
	s->in.fd = started.tty ? dup(started.out) : started.in;
	s->limit_bytes = started.limit_bytes;
	memcpy(s->limit_origin, started.limit_origin, sizeof s->limit_origin);
}

void session_watch(struct session *s, struct pollset *set)
{
	s->report_place = pollset_add(set, s->report, POLLIN);
	streams_watch(s, set);
}

static void read_report(struct session *s, const struct pollset *set)
{
	struct start_failure f;
	char message[560];
	ssize_t n;

	if (s->report < 0 || !pollset_events(set, s->report_place))
		return;
	n = read(s->report, &f, sizeof f);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	close(s->report);
	s->report = -1;
	if (s->state != STARTING && s->state != DRAINING)
		return;
	if (n == (ssize_t)sizeof f) {
		f.what[sizeof f.what - 1] = 0;
		snprintf(message, sizeof message, "%s: %s", f.what, strerror(f.error));
		session_fail(s, f.error, message);
	} else {
		if (s->state == STARTING)
			s->state = RUNNING;
		s->want_opened = 1;
	}
}

void session_ended(struct session *s, int status)
{
	/* The group outlives its leader, and its number cannot be taken while a member lives. */
	scope_kill(&s->scope, s->pid);
	s->pid = 0;
	if (s->state == EXITED)
		return;
	s->exit_kind = WIFSIGNALED(status) ? EXIT_SIGNAL : EXIT_STATUS;
	s->exit_value = (uint32_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	s->state = DRAINING;
	s->deadline_ms = now_ms() + (s->scope.path[0] ? DRAIN_CGROUP_MS : DRAIN_GROUP_MS);
	if (s->in.fd >= 0)
		close(s->in.fd);
	s->in.fd = -1;
}

void session_oom(struct session *s, pid_t pid, const char *name)
{
	struct scope_usage u;
	uint64_t wall;

	if (s->state == EXITED || s->state == GONE)
		return;
	scope_usage(&s->scope, &u);
	if (u.oom_kills <= s->oom_seen && pid != s->main_pid)
		return;
	s->oom_seen = u.oom_kills;
	s->noted = 1;
	if (s->note[0])
		return;
	wall = scope_wall(&s->scope);
	snprintf(s->note, sizeof s->note, "caddis: job's memory limit of %llu MiB%s%s%s was reached: process %d (%s) was killed%s\n",
		(unsigned long long)((wall ? wall : s->limit_bytes) >> 20),
		!s->limit_origin[0] ? "" : wall > s->limit_bytes ? " (grown from what was asked for by " : " (asked for by ", s->limit_origin,
		s->limit_origin[0] ? ")" : "", (int)pid, name, s->tty ? "\r" : "");
}

static void put_note(struct session *s)
{
	struct outbound *o = &s->out[s->merged ? 0 : 1];

	if (s->note[0] && ring_put(&o->ring, s->note, strlen(s->note)) == 0)
		s->note[0] = 0;
}

/* Killed without a line in the kernel's log yet: wait a little for its name, then do without. */
static int oom_pending(struct session *s)
{
	struct scope_usage u;

	if (s->noted || s->exit_kind == EXIT_NOT_STARTED || !s->scope.path[0])
		return 0;
	scope_usage(&s->scope, &u);
	if (u.oom_kills <= s->oom_seen)
		return 0;
	if (s->tries++ == 0)
		s->deadline_ms = now_ms() + OOM_LINE_MS;
	else if (now_ms() >= s->deadline_ms)
		session_oom(s, s->main_pid, "of this job");
	return 1;
}

static void finish(struct session *s)
{
	if (s->report >= 0)
		return;
	if (now_ms() >= s->deadline_ms && ring_room(&s->out[0].ring) && ring_room(&s->out[1].ring))
		streams_close_output(s);
	if (s->out[0].fd >= 0 || s->out[1].fd >= 0 || oom_pending(s) || s->note[0])
		return;
	s->tries = 0;
	s->state = EXITED;
	s->want_exit = 1;
}

static int send_opened(struct session *s, const struct process_host *host)
{
	struct frame f = { .type = F_OPENED, .stream = STREAM_NONE, .session = s->id, .offset = (uint64_t)s->main_pid, .flags = s->merged ? OPENED_MERGED : 0 };

	return host->send(host->user, &f, NULL);
}

static int send_attached(struct session *s, const struct process_host *host)
{
	uint8_t b[52] = { 0 };
	struct frame f = { .type = F_ATTACHED, .stream = STREAM_NONE, .session = s->id, .offset = s->attach_mark, .length = sizeof b,
		.flags = s->state == EXITED ? 2 : 1 };

	put64(b, s->in.ring.base);
	put64(b + 8, s->in.ring.end);
	b[48] = (uint8_t)s->in.eof;
	for (int i = 0; i < 2; i++) {
		put64(b + 16 + 16 * i, s->out[i].ring.base);
		put64(b + 24 + 16 * i, s->out[i].ring.end);
		b[49 + i] = (uint8_t)stream_finished(s, i);
	}
	return host->send(host->user, &f, b);
}

static int send_exit(struct session *s, const struct process_host *host)
{
	uint8_t b[24 + sizeof s->message];
	size_t n = strlen(s->message);
	struct frame f = { .type = F_EXIT, .stream = STREAM_NONE, .session = s->id, .length = (uint32_t)(24 + n) };

	put32(b, s->exit_kind);
	put32(b + 4, s->exit_value);
	put64(b + 8, s->out[0].ring.end);
	put64(b + 16, s->out[1].ring.end);
	memcpy(b + 24, s->message, n);
	return host->send(host->user, &f, b);
}

static void say(struct session *s, const struct process_host *host)
{
	if (!s->attached)
		return;
	if (s->want_opened) {
		if (!send_opened(s, host))
			return;
		s->want_opened = 0;
		s->opened = 1;
	}
	if (s->want_attached) {
		if (!send_attached(s, host))
			return;
		s->want_attached = 0;
	}
	if (s->want_exit && s->state == EXITED && send_exit(s, host))
		s->want_exit = 0;
	if (s->opened || s->state == EXITED)
		streams_send(s, host);
}

void session_work(struct session *s, const struct process_host *host, const struct pollset *set)
{
	if (s->state == GONE)
		return;
	read_report(s, set);
	s->report_place = POLLSET_NONE;
	streams_read(s, set);
	put_note(s);
	if (s->state == DRAINING)
		finish(s);
	say(s, host);
}

void session_close(struct session *s)
{
	if (s->pid > 0)
		scope_kill(&s->scope, s->pid);
	streams_close_output(s);
	if (s->in.fd >= 0)
		close(s->in.fd);
	if (s->report >= 0)
		close(s->report);
	s->in.fd = s->report = -1;
	ring_free(&s->in.ring);
	ring_free(&s->out[0].ring);
	ring_free(&s->out[1].ring);
}
