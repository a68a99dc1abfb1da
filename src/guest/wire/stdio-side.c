#define _GNU_SOURCE
#include "stdio-side.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What poll(2) promises a pipe to take without blocking; the descriptor itself is shared with others and must not be made non-blocking. */
#define PIPE_CHUNK 4096u
/* An ACK at least this often: a quarter of the window keeps the producer going. */
#define ACK_BYTES 32768u
#define IN_CHUNK FRAME_PAYLOAD_MAX

void stdio_init(struct stdio *s, int read_stdin, int tty)
{
	memset(s, 0, sizeof *s);
	s->tty = tty;
	s->in_used = s->in_open = read_stdin;
	s->in_place = POLLSET_NONE;
	for (int i = 0; i < 2; i++) {
		struct stat st;

		s->out[i].fd = i + 1;
		s->out[i].place = POLLSET_NONE;
		if (fstat(i + 1, &st) < 0)
			s->out[i].gone = 1; /* closed by the caller: natively a write would fail too */
		else
			s->out[i].direct = S_ISREG(st.st_mode);
	}
}

void stdio_opened(struct stdio *s, uint64_t session)
{
	s->session = session;
	s->attached = 1;
}

void stdio_detached(struct stdio *s) { s->attached = 0; }

void stdio_attach(const struct stdio *s, struct frame *f, uint8_t payload[24])
{
	memset(f, 0, sizeof *f);
	f->type = F_ATTACH;
	f->stream = STREAM_NONE;
	f->session = s->session;
	f->length = 24;
	put64(payload, 0);
	/* What waits in the ring is here: only the bytes behind it are wanted. */
	put64(payload + 8, s->out[0].ring.end);
	put64(payload + 16, s->out[1].ring.end);
}

static int say(struct stdio *s, uint8_t type, uint8_t stream, uint64_t offset, const void *payload, uint32_t length)
{
	struct frame f = { .type = type, .stream = stream, .session = s->session, .offset = offset, .length = length };

	return s->attached && s->send(s->user, &f, payload);
}

static void acknowledge(struct stdio *s, int i, uint64_t least)
{
	struct stdio_output *o = &s->out[i];

	if (o->ring.base - o->acknowledged >= least && o->ring.base > o->acknowledged &&
	    say(s, F_ACK, (uint8_t)(i + 1), o->ring.base, NULL, 0))
		o->acknowledged = o->ring.base;
}

/* Nobody reads descriptor `fd` any more: the process side closes its end, so that the writer gets its SIGPIPE. */
static void reader_gone(struct stdio *s, int i)
{
	struct stdio_output *o = &s->out[i];

	o->gone = 1;
	o->ring.base = o->ring.end;
	ring_free(&o->ring);
	say(s, F_EOF, (uint8_t)(i + 1), o->ring.base, NULL, 0);
}

static int write_direct(struct stdio *s, int i, const uint8_t *p, size_t n)
{
	struct stdio_output *o = &s->out[i];

	while (n) {
		ssize_t w = write(o->fd, p, n);

		if (w < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		p += w;
		n -= (size_t)w;
		o->ring.base += (uint64_t)w;
		o->ring.end = o->ring.base;
	}
	return 0;
}

static int take_data(struct stdio *s, const struct frame *f)
{
	struct stdio_output *o;
	const uint8_t *p = f->payload;
	size_t n = f->length;
	int i = f->stream - 1;

	if (i < 0 || i > 1)
		return -1;
	o = &s->out[i];
	if (f->offset > o->ring.end)
		return -1; /* a hole */
	if (f->offset + n <= o->ring.end)
		return 0; /* had it before the connection was lost */
	p += o->ring.end - f->offset;
	n -= (size_t)(o->ring.end - f->offset);
	if (o->gone) {
		o->ring.base = o->ring.end += n;
	} else if (o->direct) {
		if (write_direct(s, i, p, n) < 0) {
			/* A full disk or a quota: natively the writer would see the error; the nearest is a closed pipe. */
			o->ring.end = o->ring.base = f->offset + f->length;
			reader_gone(s, i);
		}
	} else if (ring_put(&o->ring, p, n) < 0) {
		return -1; /* beyond the window */
	}
	acknowledge(s, i, ACK_BYTES);
	return 0;
}

static int take_exit(struct stdio *s, const struct frame *f)
{
	size_t n;

	if (f->length < 24)
		return -1;
	n = f->length - 24;
	if (n > sizeof s->message - 1)
		n = sizeof s->message - 1;
	s->exit_kind = get32(f->payload);
	s->exit_value = get32(f->payload + 4);
	s->ends[0] = get64(f->payload + 8);
	s->ends[1] = get64(f->payload + 16);
	memcpy(s->message, f->payload + 24, n);
	s->message[n] = 0;
	s->exited = 1;
	return 0;
}

static int take_attached(struct stdio *s, const struct frame *f)
{
	uint64_t acknowledged, accepted;

	if (f->flags == 0)
		return -2;
	if (f->length < 52)
		return -1;
	acknowledged = get64(f->payload);
	accepted = get64(f->payload + 8);
	if (acknowledged > s->in.end || accepted > s->in.end || accepted < s->in.base)
		return -1;
	if (acknowledged > s->in.base)
		s->in.base = acknowledged;
	s->in_sent = accepted;
	s->in_eof_sent = f->payload[48];
	s->attached = 1;
	for (int i = 0; i < 2; i++) {
		s->out[i].acknowledged = 0;
		acknowledge(s, i, 1);
		if (s->out[i].gone)
			reader_gone(s, i);
	}
	return 0;
}

int stdio_frame(struct stdio *s, const struct frame *f)
{
	switch (f->type) {
	case F_DATA:
		return take_data(s, f);
	case F_EOF:
		return 0;
	case F_ACK:
		if (f->stream != STREAM_STDIN || f->offset > s->in_sent)
			return -1;
		if (f->offset > s->in.base)
			s->in.base = f->offset;
		if (s->in.base == s->in.end)
			ring_free(&s->in);
		return 0;
	case F_EXIT:
		return take_exit(s, f);
	case F_ATTACHED:
		return take_attached(s, f);
	default:
		return 0;
	}
}

static int wants_stdin(const struct stdio *s)
{
	return s->in_open && s->attached && !s->exited && ring_room(&s->in) > 0;
}

void stdio_watch(struct stdio *s, struct pollset *set)
{
	for (int i = 0; i < 2; i++) {
		struct stdio_output *o = &s->out[i];

		o->place = o->ring.end > o->ring.base ? pollset_add(set, o->fd, POLLOUT) : POLLSET_NONE;
	}
	s->in_place = wants_stdin(s) ? pollset_add(set, STDIN_FILENO, POLLIN) : POLLSET_NONE;
}

static void deliver(struct stdio *s, int i, const struct pollset *set)
{
	struct stdio_output *o = &s->out[i];
	struct pollfd again = { .fd = o->fd, .events = POLLOUT };

	if (!pollset_events(set, o->place))
		return;
	while (o->ring.end > o->ring.base) {
		size_t n;
		const uint8_t *p = ring_at(&o->ring, o->ring.base, PIPE_CHUNK, &n);
		ssize_t w = write(o->fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0 && errno == EAGAIN)
			break; /* somebody else made it non-blocking */
		if (w < 0) {
			reader_gone(s, i);
			break;
		}
		o->ring.base += (uint64_t)w;
		if (poll(&again, 1, 0) != 1)
			break;
	}
	if (o->ring.base == o->ring.end)
		ring_free(&o->ring);
}

static void read_stdin(struct stdio *s, const struct pollset *set)
{
	ssize_t r;

	if (!pollset_events(set, s->in_place))
		return;
	r = ring_read(&s->in, STDIN_FILENO);
	if (r < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (r <= 0)
		s->in_open = 0;
}

static void send_stdin(struct stdio *s)
{
	while (s->in_sent < s->in.end) {
		size_t n;
		const uint8_t *p = ring_at(&s->in, s->in_sent, IN_CHUNK, &n);

		if (!say(s, F_DATA, STREAM_STDIN, s->in_sent, p, (uint32_t)n))
			return;
		s->in_sent += n;
	}
	if (s->in_used && !s->in_open && !s->in_eof_sent && !s->tty &&
	    say(s, F_EOF, STREAM_STDIN, s->in.end, NULL, 0))
		s->in_eof_sent = 1;
}

void stdio_work(struct stdio *s, const struct pollset *set)
{
	for (int i = 0; i < 2; i++) {
		deliver(s, i, set);
		acknowledge(s, i, 1);
	}
	read_stdin(s, set);
	if (s->attached && !s->exited)
		send_stdin(s);
}

int stdio_done(const struct stdio *s)
{
	if (!s->exited)
		return 0;
	for (int i = 0; i < 2; i++)
		if (!s->out[i].gone && s->out[i].ring.base < s->ends[i])
			return 0;
	return 1;
}
