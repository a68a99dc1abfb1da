#define _GNU_SOURCE
#include "stdio_side.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stdio_move.h"

/* One acknowledgement for so many bytes while output streams; the rest when all that came is delivered. */
#define ACK_EVERY 32768u
/* How often a stub in the background looks whether it may read its terminal. */
#define FOREGROUND_EVERY_MS 1000

void stdio_init(struct stdio *s, const struct stdio_host *host, int with_stdin, int tty)
{
	struct stat st;

	memset(s, 0, sizeof *s);
	s->host = *host;
	s->tty = tty;
	s->in.fd = with_stdin ? STDIN_FILENO : -1;
	s->in.place = POLLSET_NONE;
	s->in.eof = s->in.eof_sent = !with_stdin;
	s->in.file_base = with_stdin && !fstat(STDIN_FILENO, &st) && S_ISREG(st.st_mode) ? lseek(STDIN_FILENO, 0, SEEK_CUR) : -1;
	output_init(&s->out[0], STDOUT_FILENO);
	output_init(&s->out[1], STDERR_FILENO);
}

static void forget_received(struct stdio *s)
{
	output_forget(&s->out[0]);
	output_forget(&s->out[1]);
}

void stdio_opened(struct stdio *s, uint64_t session, int come_back, int resumes)
{
	s->session = session;
	if (s->state == STDIO_ENDED)
		return;
	s->awaits_resume = resumes;
	s->attach_sent = 0;
	s->want_attach = come_back && !resumes;
	s->state = come_back || resumes ? STDIO_ATTACHING : STDIO_FLOWING;
}

void stdio_disconnected(struct stdio *s)
{
	if (s->state == STDIO_NEW || s->state == STDIO_ENDED)
		return;
	s->state = STDIO_ATTACHING;
	s->attach_sent = 0;
	s->want_attach = 0; /* not before the new connection's OPENED */
	s->moving = s->moved = s->move_over = 0; /* it will be said again */
	if (!stdio_complete(s))
		forget_received(s);
}

void stdio_replaced(struct stdio *s, uint64_t session)
{
	forget_received(s);
	for (int i = 0; i < 2; i++)
		s->out[i].ring.base = s->out[i].ring.end = s->out[i].acked = 0;
	s->in.fd = -1;
	s->in.eof = s->in.eof_sent = 1;
	s->has_exit = 0;
	stdio_opened(s, session, 0, 0);
}

static int wrong(struct stdio *s, const char *what)
{
	s->wrong = what;
	return -1;
}

static void end(struct stdio *s, uint32_t kind, uint32_t value, const char *text, size_t length)
{
	if (length > sizeof s->message - 1)
		length = sizeof s->message - 1;
	s->has_exit = 1;
	s->exit_kind = kind;
	s->exit_value = value;
	memcpy(s->message, text, length);
	s->message[length] = 0;
}

static void lost(struct stdio *s, const char *text) { end(s, EXIT_LOST, 0, text, strlen(text)); }

static int attach_input(struct stdio *s, uint64_t acknowledged, uint64_t accepted, int eof)
{
	struct stdio_input *in = &s->in;

	if (in->anew && acknowledged <= accepted) {
		/* A pipe brings what follows; a file is read from where the earlier process stood. */
		if (in->file_base >= 0)
			lseek(in->fd, in->file_base + (off_t)accepted, SEEK_SET);
		in->ring.base = in->ring.end = accepted;
		in->anew = 0;
	}
	if (acknowledged > accepted || accepted > in->ring.end)
		return wrong(s, "ATTACHED says that more stdin was taken than was sent");
	if (accepted < in->ring.base) {
		if (in->file_base < 0 || lseek(in->fd, in->file_base + (off_t)accepted, SEEK_SET) < 0) {
			lost(s, "the job goes on from a state before input that cannot be read again");
			return 0;
		}
		in->ring.base = in->ring.end = accepted;
		in->eof = 0;
	}
	if (acknowledged > in->ring.base)
		in->ring.base = acknowledged;
	in->sent = accepted;
	in->eof_sent = in->fd < 0 || (in->eof && eof);
	return 0;
}

static int on_attached(struct stdio *s, const struct frame *f)
{
	if (f->flags == 0) {
		lost(s, "the job's machine does not know this step any more");
		return 0;
	}
	if (f->length < 52)
		return wrong(s, "ATTACHED shorter than its positions");
	if (s->state != STDIO_ATTACHING)
		return 0;
	if (attach_input(s, get64(f->payload), get64(f->payload + 8), f->payload[48]))
		return -1;
	for (int i = 0; i < 2; i++) {
		uint64_t produced = get64(f->payload + 24 + 16 * i);

		if (produced < s->out[i].ring.base)
			output_roll_back(&s->out[i], produced);
		s->out[i].acked = s->out[i].ring.base;
		s->out[i].eof_wanted = s->out[i].broken;
	}
	/* Restored from before its end: it will end again. */
	if (f->flags == 1)
		s->has_exit = 0;
	s->state = STDIO_FLOWING;
	return 0;
}

static int on_data(struct stdio *s, const struct frame *f)
{
	/* Before ATTACHED it was in flight since before the ATTACH. */
	s->wrong = s->state == STDIO_FLOWING ? output_take(&s->out[f->stream - 1], f) : NULL;
	return s->wrong ? -1 : 0;
}

static int on_ack(struct stdio *s, const struct frame *f)
{
	struct stdio_input *in = &s->in;

	if (f->stream != STREAM_STDIN)
		return wrong(s, "ACK for a stream that this side does not produce");
	if (s->state != STDIO_FLOWING)
		return 0;
	if (f->offset > in->sent)
		return wrong(s, "ACK of bytes that were never sent");
	if (f->offset > in->ring.base)
		in->ring.base = f->offset;
	return 0;
}

static int on_exit_frame(struct stdio *s, const struct frame *f)
{
	if (f->length < 24)
		return wrong(s, "EXIT shorter than its numbers");
	if (get32(f->payload) > EXIT_LOST)
		return wrong(s, "EXIT of an unknown kind");
	if (get32(f->payload) == EXIT_SIGNAL && (get32(f->payload + 4) < 1 || get32(f->payload + 4) > 64))
		return wrong(s, "EXIT by a signal that does not exist");
	end(s, get32(f->payload), get32(f->payload + 4), (const char *)f->payload + 24, f->length - 24);
	s->exit_flags = f->flags;
	s->ends[0] = get64(f->payload + 8);
	s->ends[1] = get64(f->payload + 16);
	return 0;
}

static int on_lost(struct stdio *s, const struct frame *f)
{
	if (f->flags) {
		end(s, EXIT_LOST, 0, (const char *)f->payload, f->length);
		return 0;
	}
	/* Told in the stream of frames: what comes from now on answers our ATTACH. */
	if (s->state != STDIO_NEW && s->state != STDIO_ENDED && !stdio_complete(s)) {
		forget_received(s);
		s->state = STDIO_ATTACHING;
		s->want_attach = 1;
	}
	return 0;
}

int stdio_frame(struct stdio *s, const struct frame *f)
{
	int output = f->stream == STREAM_STDOUT || f->stream == STREAM_STDERR;

	switch (f->type) {
	case F_OPENED: return 0;
	case F_ATTACHED: return on_attached(s, f);
	case F_DATA: return output ? on_data(s, f) : wrong(s, "DATA for a stream that this side produces");
	case F_EOF:
		if (!output)
			return wrong(s, "EOF for a stream that this side produces");
		if (s->state == STDIO_FLOWING && !s->out[f->stream - 1].broken && f->offset > s->out[f->stream - 1].ring.end)
			return wrong(s, "EOF beyond a gap");
		/* stderr stays: it may be shared with stdout, and messages of ours go there. */
		if (s->state == STDIO_FLOWING && f->stream == STREAM_STDOUT && !s->tty && f->offset == s->out[0].ring.end)
			s->out[0].ended |= 1;
		return 0;
	case F_ACK: return on_ack(s, f);
	case F_EXIT: return on_exit_frame(s, f);
	/* Who moves has nothing to lose any more. */
	case F_LOST: return s->moving ? 0 : on_lost(s, f);
	case F_MOVED: move_asked(s, f); return 0;
	case F_RESUME: s->wrong = move_resume(s, f); return s->wrong ? -1 : 0;
	default: return wrong(s, "a frame that is not for a stdio side");
	}
}

static int in_foreground(const struct stdio *s)
{
	pid_t group;

	if (!s->tty)
		return 1;
	group = tcgetpgrp(s->in.fd);
	return group < 0 || group == getpgrp();
}

void stdio_watch(struct stdio *s, struct pollset *set)
{
	struct stdio_input *in = &s->in;

	in->place = POLLSET_NONE;
	s->background = 0;
	if (in->fd >= 0 && !in->eof && s->state == STDIO_FLOWING && !s->has_exit && !s->moving && ring_room(&in->ring)) {
		if (in_foreground(s))
			in->place = pollset_add(set, in->fd, POLLIN);
		else
			s->background = 1;
	}
	for (int i = 0; i < 2; i++) {
		struct stdio_output *o = &s->out[i];

		o->place = o->ring.end > o->ring.base && !s->moved ? pollset_add(set, o->fd, POLLOUT) : POLLSET_NONE;
	}
}

int stdio_timeout(const struct stdio *s) { return s->moving ? move_timeout(s) : s->background ? FOREGROUND_EVERY_MS : -1; }

static void read_input(struct stdio *s, const struct pollset *set)
{
	struct stdio_input *in = &s->in;
	ssize_t n;

	if (!pollset_events(set, in->place))
		return;
	in->place = POLLSET_NONE;
	n = ring_read(&in->ring, in->fd);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOMEM))
		in->eof = 1;
}

static int say(struct stdio *s, uint8_t type, uint8_t stream, uint16_t flags, uint64_t offset, const void *payload, size_t length)
{
	struct frame f = { .type = type, .stream = stream, .flags = flags, .session = s->session, .offset = offset, .length = (uint32_t)length };

	return s->host.send(s->host.user, &f, payload);
}

static void send_input(struct stdio *s)
{
	struct stdio_input *in = &s->in;

	while (in->sent < in->ring.end) {
		size_t n;
		const uint8_t *p = ring_at(&in->ring, in->sent, FRAME_PAYLOAD_MAX, &n);

		if (!say(s, F_DATA, STREAM_STDIN, 0, in->sent, p, n))
			return;
		in->sent += n;
	}
	if (in->eof && !in->eof_sent && !s->tty)
		in->eof_sent = say(s, F_EOF, STREAM_STDIN, 0, in->ring.end, NULL, 0);
	if (in->eof && in->ring.base == in->ring.end)
		ring_free(&in->ring);
}

static void send_ack(struct stdio *s, int i)
{
	struct stdio_output *o = &s->out[i];
	uint64_t news = o->ring.base - o->acked;

	if (news && (news >= ACK_EVERY || o->ring.base == o->ring.end) && say(s, F_ACK, (uint8_t)(i + 1), 0, o->ring.base, NULL, 0))
		o->acked = o->ring.base;
	if (o->eof_wanted && say(s, F_EOF, (uint8_t)(i + 1), 0, o->ring.base, NULL, 0))
		o->eof_wanted = 0;
}

static void send_signals(struct stdio *s)
{
	size_t sent = 0;

	while (sent < s->signal_count && say(s, F_SIGNAL, STREAM_NONE, s->signals[sent].scope, s->signals[sent].number, NULL, 0))
		sent++;
	s->signal_count -= sent;
	memmove(s->signals, s->signals + sent, s->signal_count * sizeof s->signals[0]);
}

static void send_size(struct stdio *s)
{
	uint8_t b[8];

	put16(b, s->size.ws_row);
	put16(b + 2, s->size.ws_col);
	put16(b + 4, s->size.ws_xpixel);
	put16(b + 6, s->size.ws_ypixel);
	if (s->want_size && say(s, F_WINSIZE, STREAM_NONE, 0, 0, b, sizeof b))
		s->want_size = 0;
}

static void send_attach(struct stdio *s)
{
	uint8_t b[24] = { 0 };

	put64(b + 8, s->out[0].ring.base);
	put64(b + 16, s->out[1].ring.base);
	if (say(s, F_ATTACH, STREAM_NONE, 0, 0, b, sizeof b)) {
		s->want_attach = 0;
		s->attach_sent = 1;
	}
}

int stdio_complete(const struct stdio *s)
{
	if (!s->has_exit)
		return 0;
	for (int i = 0; i < 2 && s->exit_kind != EXIT_LOST; i++)
		if (!s->out[i].broken && s->out[i].ring.end < s->ends[i])
			return 0;
	return 1;
}

static int delivered(const struct stdio *s)
{
	return stdio_complete(s) && s->out[0].ring.base == s->out[0].ring.end && s->out[1].ring.base == s->out[1].ring.end;
}

void stdio_work(struct stdio *s, const struct pollset *set)
{
	/* How far this side came was said: from here on it stays so. */
	if (s->moved) {
		send_signals(s);
		return;
	}
	read_input(s, set);
	for (int i = 0; i < 2; i++) {
		if (s->out[i].ring.end > s->out[i].ring.base)
			output_drain(&s->out[i]);
		if (s->out[i].ended == 1 && s->out[i].ring.base == s->out[i].ring.end && !s->has_exit) {
			output_shut(&s->out[i]);
			s->out[i].ended = 2;
		}
	}
	if (s->moving) {
		send_signals(s);
		move_work(s);
		return;
	}
	if (s->want_attach)
		send_attach(s);
	/* They may be why a machine that is away is brought back: whoever routes keeps them until there is one. */
	if (s->state == STDIO_ATTACHING && s->attach_sent)
		send_signals(s);
	if (s->state == STDIO_FLOWING) {
		send_signals(s);
		if (s->want_size)
			send_size(s);
		send_ack(s, 1);
		send_ack(s, 0);
		send_input(s);
	}
	if (delivered(s) && s->state != STDIO_ENDED) {
		/* Without a connection nobody can be told, and whoever routes will find out. */
		if (s->state == STDIO_FLOWING && !say(s, F_EXIT_ACK, STREAM_NONE, 0, 0, NULL, 0))
			return;
		s->state = STDIO_ENDED;
	}
}

void stdio_signal(struct stdio *s, int number, int scope)
{
	if (s->signal_count == STDIO_SIGNALS || number < 1 || number > 64)
		return;
	s->signals[s->signal_count].number = (uint8_t)number;
	s->signals[s->signal_count].scope = (uint8_t)scope;
	s->signal_count++;
}

void stdio_winsize(struct stdio *s, const struct winsize *size)
{
	s->size = *size;
	s->want_size = 1;
}

int stdio_moved(const struct stdio *s) { return move_may_end(s); }

int stdio_finished(const struct stdio *s) { return s->state == STDIO_ENDED; }

void stdio_free(struct stdio *s)
{
	ring_free(&s->in.ring);
	ring_free(&s->out[0].ring);
	ring_free(&s->out[1].ring);
}
