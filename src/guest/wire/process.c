#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "document.h"
#include "session.h"

/* A cgroup can be removed a moment after its last process died: tried this often, this many milliseconds apart. */
#define REMOVE_TRIES 100
#define REMOVE_EVERY_MS 50

struct processes {
	struct process_host host;
	struct assembler documents;
	struct session *first;
	size_t count;
};

struct processes *processes_new(const struct process_host *host)
{
	struct processes *t = calloc(1, sizeof *t);

	if (t)
		t->host = *host;
	return t;
}

static void complain(struct processes *t, const struct frame *f, const char *what)
{
	char text[200];

	if (!t->host.log)
		return;
	snprintf(text, sizeof text, "session %llx: %s (frame type %u, stream %u, offset %llu, length %u): dropped",
		(unsigned long long)f->session, what, f->type, f->stream, (unsigned long long)f->offset, f->length);
	t->host.log(t->host.user, 1, text);
}

static struct session *find(struct processes *t, uint64_t id)
{
	for (struct session *s = t->first; s; s = s->next)
		if (s->id == id && s->state != GONE)
			return s;
	return NULL;
}

/* Sends from `delivered` on: the bytes below were taken. `delivered` NULL: from the oldest byte kept. */
static void attach(struct session *s, const uint8_t *delivered)
{
	s->attached = 1;
	s->want_attached = 1;
	s->want_opened = 0;
	if (s->state != STARTING)
		s->opened = 1;
	s->in.acked = s->in.ring.base;
	s->want_exit = s->state == EXITED;
	for (int i = 0; i < 2; i++) {
		struct outbound *o = &s->out[i];
		uint64_t d = delivered ? get64(delivered + 8 * (i + 1)) : o->ring.base;

		if (d > o->ring.end)
			d = o->ring.end;
		if (d > o->ring.base)
			o->ring.base = d;
		o->sent = o->ring.base;
		o->eof_sent = 0;
	}
}

static int lost_bytes(const struct session *s, const uint8_t *delivered)
{
	for (int i = 0; i < 2; i++)
		if (!s->out[i].gone && get64(delivered + 8 * (i + 1)) < s->out[i].ring.base)
			return 1;
	return 0;
}

static void answer(struct processes *t, uint64_t id, uint8_t type, uint64_t offset, const uint8_t *payload, size_t length)
{
	struct frame f = { .type = type, .stream = STREAM_NONE, .session = id, .offset = offset, .length = (uint32_t)length };

	t->host.send(t->host.user, &f, payload);
}

static void refuse(struct processes *t, uint64_t id, uint32_t kind, uint32_t value, const char *message)
{
	uint8_t b[24 + 160] = { 0 };
	size_t n = strlen(message) < 160 ? strlen(message) : 160;

	put32(b, kind);
	put32(b + 4, value);
	memcpy(b + 24, message, n);
	answer(t, id, F_EXIT, 0, b, 24 + n);
}

static void on_attach(struct processes *t, struct session *s, const struct frame *f)
{
	static const uint8_t nothing[52];

	if (f->length < 24)
		complain(t, f, "ATTACH shorter than its three offsets");
	else if (!s)
		answer(t, f->session, F_ATTACHED, f->offset, nothing, sizeof nothing);
	else if (lost_bytes(s, f->payload))
		refuse(t, f->session, EXIT_LOST, 0, "output was acknowledged that this stdio side never saw");
	else {
		s->attach_mark = f->offset;
		attach(s, f->payload);
	}
}

static void on_open(struct processes *t, struct session *s, const struct frame *f)
{
	const uint8_t *document;
	size_t length;
	int whole = assembler_take(&t->documents, f, &document, &length);

	if (whole < 0)
		complain(t, f, "OPEN whose parts do not fit");
	if (whole < 1)
		return;
	if (s) {
		attach(s, NULL);
		return;
	}
	if (t->count >= t->host.most || !(s = calloc(1, sizeof *s))) {
		refuse(t, f->session, EXIT_NOT_STARTED, EAGAIN, "too many sessions");
		return;
	}
	/* An id used again at once: the forgotten session must not take the new one's group away. */
	for (struct session *old = t->first; old; old = old->next)
		if (old->id == f->session)
			old->scope.path[0] = 0;
	s->id = f->session;
	s->next = t->first;
	t->first = s;
	t->count++;
	session_open(s, &t->host, document, length);
}

static void on_signal(struct processes *t, struct session *s, const struct frame *f)
{
	int number = (int)f->offset;
	pid_t group;

	if (f->offset < 1 || f->offset > 64) {
		complain(t, f, "signal number out of range");
		return;
	}
	if (s->pid <= 0)
		return;
	switch (f->flags) {
	case SIGNAL_SESSION: scope_signal(&s->scope, s->pid, number); break;
	case SIGNAL_MAIN: kill(s->pid, number); break;
	case SIGNAL_FOREGROUND:
		if (s->tty && s->out[0].fd >= 0 && !ioctl(s->out[0].fd, TIOCGPGRP, &group) && group > 1)
			kill(-group, number);
		else
			kill(s->pid, number);
		break;
	default: complain(t, f, "unknown signal scope");
	}
}

static void on_winsize(struct processes *t, struct session *s, const struct frame *f)
{
	struct winsize size;

	if (f->length < 8) {
		complain(t, f, "WINSIZE too short");
		return;
	}
	size = (struct winsize){ get16(f->payload), get16(f->payload + 2), get16(f->payload + 4), get16(f->payload + 6) };
	if (s->tty && s->out[0].fd >= 0)
		ioctl(s->out[0].fd, TIOCSWINSZ, &size);
}

static void forget(struct session *s)
{
	session_close(s);
	s->state = GONE;
	s->tries = 0;
	s->deadline_ms = 0;
}

void processes_frame(struct processes *t, const struct frame *f)
{
	struct session *s = find(t, f->session);
	const char *wrong = NULL;

	if (f->type == F_OPEN) {
		on_open(t, s, f);
		return;
	}
	if (f->type == F_ATTACH) {
		on_attach(t, s, f);
		return;
	}
	if (!s) {
		/* An EXIT_ACK may be repeated after the session was forgotten. */
		if (f->type != F_EXIT_ACK && f->type != F_DETACH)
			complain(t, f, "no such session");
		return;
	}
	switch (f->type) {
	case F_DATA: wrong = streams_data(s, f); break;
	case F_EOF: wrong = streams_eof(s, f); break;
	case F_ACK: wrong = streams_ack(s, f); break;
	case F_SIGNAL: on_signal(t, s, f); break;
	case F_WINSIZE: on_winsize(t, s, f); break;
	case F_DETACH: s->attached = 0; break;
	case F_EXIT_ACK:
		if (s->state == EXITED)
			forget(s);
		else
			wrong = "EXIT_ACK before EXIT";
		break;
	default: wrong = "not for a process side";
	}
	if (wrong)
		complain(t, f, wrong);
}

void processes_detach_all(struct processes *t)
{
	assembler_reset(&t->documents);
	for (struct session *s = t->first; s; s = s->next)
		s->attached = 0;
}

void processes_watch(struct processes *t, struct pollset *set)
{
	for (struct session *s = t->first; s; s = s->next)
		if (s->state != GONE)
			session_watch(s, set);
}

int processes_timeout(const struct processes *t)
{
	int64_t now = now_ms(), nearest = -1;

	for (const struct session *s = t->first; s; s = s->next) {
		int64_t left = s->deadline_ms - now;

		if (s->state != DRAINING && s->state != GONE)
			continue;
		/* Past the deadline only a full window is waited for; that one is opened by an ACK, not by time. */
		if (left <= 0)
			left = REMOVE_EVERY_MS;
		if (nearest < 0 || left < nearest)
			nearest = left;
	}
	return (int)nearest;
}

static int may_go(struct session *s)
{
	int64_t now = now_ms();

	if (s->state != GONE || s->pid > 0 || now < s->deadline_ms)
		return 0;
	s->deadline_ms = now + REMOVE_EVERY_MS;
	if (!scope_empty(&s->scope) && ++s->tries < REMOVE_TRIES)
		return 0;
	scope_remove(&s->scope);
	return 1;
}

void processes_work(struct processes *t, const struct pollset *set)
{
	struct session **link = &t->first, *s, *last = NULL;

	while ((s = *link)) {
		session_work(s, &t->host, set);
		if (may_go(s)) {
			*link = s->next;
			free(s);
			t->count--;
		} else {
			last = s;
			link = &s->next;
		}
	}
	/* Whoever came first goes last in the next turn: no session can keep the port to itself. */
	if (last && last != t->first) {
		s = t->first;
		t->first = s->next;
		last->next = s;
		s->next = NULL;
	}
}

int processes_child(struct processes *t, pid_t pid, int status)
{
	for (struct session *s = t->first; s; s = s->next)
		if (s->pid == pid) {
			session_ended(s, status);
			return 1;
		}
	return 0;
}

void processes_reap(struct processes *t)
{
	int status;

	for (struct session *s = t->first; s; s = s->next)
		if (s->pid > 0 && waitpid(s->pid, &status, WNOHANG) == s->pid)
			session_ended(s, status);
}

void processes_kill_all(struct processes *t)
{
	for (struct session *s = t->first; s; s = s->next)
		if (s->pid > 0)
			scope_kill(&s->scope, s->pid);
}

size_t processes_count(const struct processes *t) { return t->count; }

void processes_oom(struct processes *t, pid_t pid, const char *name)
{
	for (struct session *s = t->first; s; s = s->next)
		session_oom(s, pid, name);
}

void processes_note(struct processes *t, const char *text)
{
	for (struct session *s = t->first; s; s = s->next)
		if (s->state == RUNNING && !s->note[0])
			snprintf(s->note, sizeof s->note, "%s%s\n", text, s->tty ? "\r" : "");
}

void processes_each(struct processes *t, void (*each)(void *user, uint64_t session, pid_t pid), void *user)
{
	for (struct session *s = t->first; s; s = s->next)
		if (s->state != GONE && s->pid > 0)
			each(user, s->id, s->pid);
}

void processes_free(struct processes *t)
{
	struct session *s;

	processes_kill_all(t);
	while ((s = t->first)) {
		t->first = s->next;
		session_close(s);
		scope_remove(&s->scope);
		free(s);
	}
	assembler_reset(&t->documents);
	free(t);
}
