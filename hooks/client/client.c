#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"
#include "clock_ms.h"
#include "document.h"
#include "relayed.h"
#include "signals.h"
#include "stdio_side.h"

#define RETRY_FIRST_MS 10
#define RETRY_MOST_MS 500
/* For the last acknowledgement to leave; without it whoever routes finds out by our end. */
#define FLUSH_MS 1000

enum phase { CONNECTING, OPENING, RUNNING };

struct client {
	const struct client_options *o;
	struct client_end *end;
	enum phase phase;
	int done, opens, signal_fd, error;
	int64_t deadline_ms, next_try_ms;
	int64_t asked_ms; /* when a connection first ended without an answer; 0: never */
	int retry_ms;
	size_t signal_place, document_sent;
	struct pollset set;
	struct channel channel;
	struct stdio stdio;
	struct relayed relayed;
	struct terminal terminal;
	struct tlv_writer document;
};

__attribute__((format(printf, 3, 4))) static void give_up(struct client *c, int status, const char *format, ...)
{
	char text[600];
	va_list list;

	if (c->done)
		return;
	terminal_restore(&c->terminal);
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	dprintf(STDERR_FILENO, "caddis: %s\n", text);
	*c->end = (struct client_end){ .status = status };
	c->done = 1;
}

static void describe(struct client *c)
{
	terminal_measure(&c->terminal);
	call_describe(&c->o->call, &c->terminal, c->stdio.session, &c->document);
	c->document_sent = 0;
	if (c->document.failed)
		give_up(c, 126, "%s", "arguments and environment are larger than 8 MiB, or there is no memory for them");
}

static void try_connect(struct client *c)
{
	int64_t now = clock_ms();

	if (c->channel.fd >= 0 || now < c->next_try_ms)
		return;
	if (channel_connect(&c->channel, c->o->path) == 0) {
		c->phase = OPENING;
		describe(c);
		return;
	}
	c->error = errno;
	if (now >= c->deadline_ms) {
		if (c->stdio.session)
			give_up(c, STATUS_LOST, "%s did not come back within %d s (%s: %s)", c->o->peer, c->o->come_back_ms / 1000, c->o->path, strerror(c->error));
		else
			give_up(c, c->o->unreachable_status, "cannot reach %s within %d s (%s: %s)", c->o->peer, c->o->connect_timeout_ms / 1000, c->o->path, strerror(c->error));
	}
	c->next_try_ms = now + c->retry_ms;
	c->retry_ms = c->retry_ms * 2 < RETRY_MOST_MS ? c->retry_ms * 2 : RETRY_MOST_MS;
}

static void send_document(struct client *c)
{
	while (c->phase == OPENING && c->document.data) {
		struct frame f = { .type = F_OPEN, .stream = STREAM_NONE };
		const uint8_t *part = document_part(c->document.data, c->document.length, c->document_sent, &f);

		if (!channel_send(&c->channel, &f, part))
			return;
		c->document_sent += f.length;
		if (!(f.flags & FRAME_MORE)) {
			c->opens++;
			tlv_free(&c->document);
		}
	}
}

static void disconnected(struct client *c)
{
	channel_close(&c->channel);
	tlv_free(&c->document);
	stdio_disconnected(&c->stdio);
	relayed_disconnected(&c->relayed);
	if (stdio_complete(&c->stdio)) {
		/* Only our own reader is waited for. */
		c->next_try_ms = INT64_MAX / 2;
		return;
	}
	if (c->o->come_back_ms == 0 && c->phase == OPENING && !c->asked_ms)
		c->asked_ms = clock_ms();
	if (c->o->come_back_ms == 0 && (c->phase != OPENING || clock_ms() >= c->asked_ms + c->o->ask_again_ms)) {
		give_up(c, c->phase == RUNNING && c->o->is_step ? STATUS_LOST : c->o->unreachable_status, "%s ended the connection before it answered", c->o->peer);
		return;
	}
	if (c->phase == RUNNING) {
		c->deadline_ms = clock_ms() + c->o->come_back_ms;
		c->retry_ms = RETRY_FIRST_MS;
	} else if (c->o->come_back_ms == 0) {
		c->deadline_ms = c->asked_ms + c->o->ask_again_ms;
	}
	c->phase = CONNECTING;
	c->next_try_ms = clock_ms() + c->retry_ms;
	c->retry_ms = c->retry_ms * 2 < RETRY_MOST_MS ? c->retry_ms * 2 : RETRY_MOST_MS;
}

/* The first frame of the session after an OPEN, mostly OPENED: tells its id. */
static void opened(struct client *c, const struct frame *f)
{
	int resumes = f->type == F_OPENED && (f->flags & OPENED_RESUMES);

	if (c->stdio.session && c->stdio.session != f->session)
		stdio_replaced(&c->stdio, f->session);
	else
		stdio_opened(&c->stdio, f->session, c->stdio.session != 0 || c->opens > 1, resumes);
	c->phase = RUNNING;
	tlv_free(&c->document);
	if (!c->o->is_step)
		return;
	terminal_raw(&c->terminal);
	if (c->opens > 1 && c->terminal.is_terminal)
		stdio_winsize(&c->stdio, &c->terminal.size);
}

static int take_frame(struct client *c, const struct frame *f)
{
	if (c->o->runs_relayed && (f->session & GUEST_OPENED)) {
		relayed_frame(&c->relayed, f);
		return 0;
	}
	if (f->session == 0 || c->phase == CONNECTING || (c->phase == OPENING && c->document.data && f->type == F_OPENED)) {
		c->stdio.wrong = "a frame without a session, or before the OPEN";
		return -1;
	}
	if (c->phase == OPENING)
		opened(c, f);
	if (f->session != c->stdio.session) {
		c->stdio.wrong = "a frame for another session";
		return -1;
	}
	return stdio_frame(&c->stdio, f);
}

static void take_frames(struct client *c)
{
	struct frame f;
	int got;

	while (!c->done && (got = channel_next(&c->channel, &f)) != 0) {
		if (got < 0)
			c->stdio.wrong = "bytes that are no frame";
		if (got < 0 || take_frame(c, &f))
			give_up(c, STATUS_PROTOCOL, "%s broke the protocol: %s", c->o->peer, c->stdio.wrong);
	}
}

static int ends_a_process(int number)
{
	return number != SIGCHLD && number != SIGCONT && number != SIGURG && number != SIGWINCH && number != SIGTSTP && number != SIGTTIN && number != SIGTTOU;
}

static void on_signal(struct client *c, int number)
{
	if (number == SIGCHLD)
		relayed_reap(&c->relayed);
	/* Of these nobody outside speaks: a reader of ours that is gone is seen at write(2), a terminal that is another's at read(2). */
	if (number == SIGCHLD || number == SIGPIPE || number == SIGTTIN || number == SIGTTOU)
		return;
	if (number == SIGWINCH || number == SIGCONT) {
		terminal_measure(&c->terminal);
		if (number == SIGCONT && c->phase == RUNNING)
			terminal_raw(&c->terminal);
		if (c->terminal.is_terminal)
			stdio_winsize(&c->stdio, &c->terminal.size);
		if (number == SIGWINCH)
			return;
	}
	if (c->o->is_step && (c->opens || c->phase == OPENING)) {
		relayed_host_signal(&c->relayed, number);
		stdio_signal(&c->stdio, number, SIGNAL_SESSION);
	} else if (ends_a_process(number)) {
		*c->end = (struct client_end){ .signal = number };
		c->done = 1;
	}
}

static int earlier(int a, int b) { return a < 0 || (b >= 0 && b < a) ? b : a; }

/* Told how far we came, and heard that it is known for good: the session is another's. (A break of the connection is found by reading, after the queue was emptied.) */
static int has_told(const struct client *c) { return stdio_moved(&c->stdio) && c->channel.fd >= 0 && !channel_queued(&c->channel); }

static int timeout(const struct client *c)
{
	int64_t wait = c->next_try_ms - clock_ms();
	int ms = earlier(stdio_timeout(&c->stdio), relayed_timeout(&c->relayed));

	if (has_told(c))
		return 0;
	return c->channel.fd < 0 ? earlier(ms, wait > 0 ? (int)(wait < 60000 ? wait : 60000) : 0) : ms;
}

static void turn(struct client *c)
{
	int gone = 0, told = has_told(c), number;

	c->set.count = 0;
	c->signal_place = pollset_add(&c->set, c->signal_fd, POLLIN);
	channel_watch(&c->channel, &c->set);
	stdio_watch(&c->stdio, &c->set);
	relayed_watch(&c->relayed, &c->set);
	if (poll(c->set.fds, c->set.count, timeout(c)) < 0)
		for (size_t i = 0; i < c->set.count; i++)
			c->set.fds[i].revents = 0;
	while (pollset_events(&c->set, c->signal_place) && !c->done && (number = signals_take(c->signal_fd)) > 0)
		on_signal(c, number);
	if (c->channel.fd >= 0) {
		gone = channel_work(&c->channel, &c->set);
		take_frames(c);
	}
	if (gone && !c->done)
		disconnected(c);
	if (told && !gone) {
		/* Silently: the status is for the scheduler, which starts the job again. */
		*c->end = (struct client_end){ .status = c->stdio.move_status };
		c->done = 1;
	}
	stdio_work(&c->stdio, &c->set);
	relayed_work(&c->relayed, &c->set);
}

static void flush(struct client *c)
{
	int64_t deadline = clock_ms() + FLUSH_MS, left;

	while (c->channel.fd >= 0 && channel_queued(&c->channel) && (left = deadline - clock_ms()) > 0) {
		c->set.count = 0;
		channel_watch(&c->channel, &c->set);
		if (poll(c->set.fds, c->set.count, (int)left) < 0 || channel_work(&c->channel, &c->set))
			return;
		c->channel.parser.start = c->channel.parser.end = 0;
	}
}

static void judge(struct client *c)
{
	struct stdio *s = &c->stdio;
	int named = !strncmp(s->message, "caddis: ", 8);

	terminal_restore(&c->terminal);
	switch (s->exit_kind) {
	case EXIT_STATUS: c->end->status = (int)(s->exit_value & 255); break;
	case EXIT_SIGNAL: c->end->signal = (int)s->exit_value; break;
	case EXIT_NOT_STARTED:
		dprintf(STDERR_FILENO, "%s\n", s->message);
		/* As a shell says it, unless caddisd knows better what this scheduler does. */
		c->end->status = s->exit_flags ? s->exit_flags & 255 : s->exit_value == ENOENT ? 127 : 126;
		break;
	default:
		dprintf(STDERR_FILENO, "%s%s\n", named ? "" : "caddis: ", s->message);
		c->end->status = STATUS_LOST;
	}
}

void client_run(const struct client_options *options, struct client_end *end)
{
	static struct client c;
	struct stdio_host host = { .user = &c.channel, .send = channel_send };

	*end = (struct client_end){ 0 };
	c.o = options;
	c.end = end;
	c.retry_ms = RETRY_FIRST_MS;
	c.deadline_ms = clock_ms() + options->connect_timeout_ms;
	c.signal_fd = signals_open();
	if (options->is_step)
		terminal_look(&c.terminal);
	stdio_init(&c.stdio, &host, options->is_step, c.terminal.is_terminal);
	relayed_init(&c.relayed, &c.channel);
	if (c.signal_fd < 0 || channel_init(&c.channel))
		give_up(&c, 126, "cannot start: %s", strerror(errno));
	while (!c.done && !stdio_finished(&c.stdio)) {
		try_connect(&c);
		send_document(&c);
		if (!c.done)
			turn(&c);
	}
	terminal_restore(&c.terminal);
	if (!c.done) {
		flush(&c);
		judge(&c);
	}
	relayed_free(&c.relayed);
	channel_close(&c.channel);
	parser_free(&c.channel.parser);
	stdio_free(&c.stdio);
	tlv_free(&c.document);
	pollset_free(&c.set);
}

_Noreturn void client_leave(const struct client_end *end)
{
	if (end->signal)
		signals_die(end->signal);
	_exit(end->status);
}
