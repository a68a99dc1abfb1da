#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

/* ACKs are spared while a producer streams: one for each quarter of the window, or when all is consumed. */
#define ACK_EVERY (STREAM_WINDOW / 4)
/* A whole frame fills two writes of the virtio console driver, which takes 32 KiB at a time: not a third for the last bytes. */
#define DATA_MOST (FRAME_PAYLOAD_MAX - FRAME_HEADER - FRAME_TRAILER_BYTES)
/* A producer of this much in one read may fill its pipe first: on a machine with one CPU it would be interrupted at each of its writes. */
#define STREAMING_BYTES 16384

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The stream that an out-of-memory note goes to ends only with the session. */
static int note_stream(const struct session *s) { return s->merged ? 0 : 1; }

int stream_finished(const struct session *s, int i)
{
	return s->out[i].fd < 0 && (i != note_stream(s) || s->state == EXITED);
}

void streams_watch(struct session *s, struct pollset *set)
{
	s->in.place = POLLSET_NONE;
	if (s->in.ring.end > s->in.ring.base)
		s->in.place = pollset_add(set, s->in.fd, POLLOUT);
	for (int i = 0; i < 2; i++) {
		s->out[i].place = POLLSET_NONE;
		if (ring_room(&s->out[i].ring))
			s->out[i].place = pollset_add(set, s->out[i].fd, POLLIN);
	}
}

static void feed(struct session *s, const struct pollset *set)
{
	struct inbound *in = &s->in;

	if (pollset_events(set, in->place) & (POLLOUT | POLLERR | POLLHUP)) {
		if (ring_write(&in->ring, in->fd) < 0 && errno != EAGAIN && errno != EINTR) {
			/* Nobody reads any more: what still comes is taken and dropped, so that the producer goes on. */
			shut(&in->fd);
		}
	}
	in->place = POLLSET_NONE;
	if (in->fd < 0)
		in->ring.base = in->ring.end;
	if (in->ring.base == in->ring.end) {
		if (in->eof && !s->tty)
			shut(&in->fd);
		if (in->eof || in->fd < 0)
			ring_free(&in->ring);
	}
}

void streams_read(struct session *s, const struct pollset *set)
{
	feed(s, set);
	for (int i = 0; i < 2; i++) {
		struct outbound *o = &s->out[i];
		ssize_t n;

		if (!(pollset_events(set, o->place) & (POLLIN | POLLHUP | POLLERR)))
			continue;
		o->place = POLLSET_NONE;
		if (o->fd < 0 || !ring_room(&o->ring))
			continue;
		if (o->streams)
			sched_yield();
		n = ring_read(&o->ring, o->fd);
		o->streams = n >= STREAMING_BYTES;
		if (n > 0 && s->state == DRAINING)
			s->deadline_ms = now_ms() + (s->scope.path[0] ? DRAIN_CGROUP_MS : DRAIN_GROUP_MS);
		/* A pty whose last user is gone answers EIO; out of memory is tried again. */
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOMEM))
			shut(&o->fd);
	}
}

void streams_close_output(struct session *s)
{
	shut(&s->out[0].fd);
	shut(&s->out[1].fd);
}

static int send_output(struct session *s, const struct process_host *host, int i)
{
	struct outbound *o = &s->out[i];
	struct frame f = { .type = F_DATA, .stream = (uint8_t)(i + 1), .session = s->id };

	while (o->sent < o->ring.end) {
		size_t n;
		const uint8_t *p = ring_at(&o->ring, o->sent, DATA_MOST, &n);

		f.length = (uint32_t)n;
		f.offset = o->sent;
		if (!host->send(host->user, &f, p))
			return 0;
		o->sent += n;
	}
	if (stream_finished(s, i) && !o->eof_sent && !(s->tty && i == 1)) {
		f.type = F_EOF;
		f.length = 0;
		f.offset = o->ring.end;
		if (!host->send(host->user, &f, NULL))
			return 0;
		o->eof_sent = 1;
	}
	return 1;
}

static int send_ack(struct session *s, const struct process_host *host)
{
	struct inbound *in = &s->in;
	struct frame f = { .type = F_ACK, .stream = STREAM_STDIN, .session = s->id, .offset = in->ring.base };

	if (in->ring.base == in->acked || (in->ring.base != in->ring.end && in->ring.base - in->acked < ACK_EVERY))
		return 1;
	if (!host->send(host->user, &f, NULL))
		return 0;
	in->acked = in->ring.base;
	return 1;
}

int streams_send(struct session *s, const struct process_host *host)
{
	if (!send_ack(s, host))
		return 0;
	/* stderr first: it is short and someone waits for it. */
	return send_output(s, host, 1) & send_output(s, host, 0);
}

const char *streams_data(struct session *s, const struct frame *f)
{
	struct ring *r = &s->in.ring;
	uint64_t skip;

	if (f->stream != STREAM_STDIN)
		return "DATA for a stream that this side produces";
	if (f->offset > r->end)
		return "DATA beyond a gap";
	skip = r->end - f->offset;
	if (skip >= f->length)
		return NULL;
	if (s->in.eof)
		return "DATA after EOF";
	if (s->in.fd < 0) {
		r->end = r->base = f->offset + f->length;
		return NULL;
	}
	return ring_put(r, f->payload + skip, f->length - (size_t)skip) ? "DATA beyond the window" : NULL;
}

/* Nobody reads any more: closing our end gives the writer its SIGPIPE. */
static const char *reader_gone(struct session *s, const struct frame *f)
{
	struct outbound *o = &s->out[f->stream - 1];

	if (f->offset > o->sent)
		return "EOF beyond what was sent";
	o->gone = 1;
	shut(&o->fd);
	o->ring.base = o->ring.end = o->sent = f->offset;
	ring_free(&o->ring);
	return NULL;
}

const char *streams_eof(struct session *s, const struct frame *f)
{
	if (f->stream == STREAM_STDOUT || f->stream == STREAM_STDERR)
		return reader_gone(s, f);
	if (f->stream != STREAM_STDIN)
		return "EOF for no stream";
	if (f->offset != s->in.ring.end)
		return "EOF beyond a gap";
	s->in.eof = 1;
	return NULL;
}

const char *streams_ack(struct session *s, const struct frame *f)
{
	struct outbound *o;

	if (f->stream != STREAM_STDOUT && f->stream != STREAM_STDERR)
		return "ACK for a stream that this side does not produce";
	o = &s->out[f->stream - 1];
	if (o->gone)
		return NULL;
	if (f->offset > o->sent)
		return "ACK of bytes that were never sent";
	if (f->offset > o->ring.base)
		o->ring.base = f->offset;
	if (o->ring.base == o->ring.end && o->fd < 0 && stream_finished(s, f->stream - 1))
		ring_free(&o->ring);
	return NULL;
}
