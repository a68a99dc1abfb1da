#define _GNU_SOURCE
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"

#define WHOLE (FRAME_HEADER + FRAME_PAYLOAD_MAX + FRAME_TRAILER_BYTES)
#define OUT_BYTES (2 * WHOLE)
/* The virtio console driver takes at most 32 KiB a write: less than that is gathered until the end of the turn. */
#define WRITE_BYTES 32768
#define READS_A_TURN 16
#define HELLO_BYTES 24
/* The zeros that go before a repeated HELLO break the framing on purpose: only a HELLO that does not come is worth a word. */
#define HUNT_MS 300

int link_init(struct link *l, const struct link_events *events)
{
	memset(l, 0, sizeof *l);
	l->events = *events;
	for (int i = 0; i < PORTS; i++) {
		struct port *p = &l->ports[i];

		p->number = i;
		p->fd = p->listener = -1;
		p->place = p->listen_place = POLLSET_NONE;
		if (parser_init(&p->parser, 1) || !(p->out = malloc(OUT_BYTES)))
			return -1;
	}
	return 0;
}

static void judge(struct link *l)
{
	const struct port *c = &l->ports[PORT_CTL], *b = &l->ports[PORT_BULK];
	int up = c->connected && b->connected && c->generation && c->generation == b->generation;

	if (up == l->up)
		return;
	l->up = up;
	if (up)
		l->events.up(l->events.user);
	else
		l->events.down(l->events.user);
}

static void disconnected(struct link *l, struct port *p)
{
	p->connected = 0;
	p->generation = 0;
	p->out_start = p->out_end = 0;
	parser_reset(&p->parser);
	if (p->listener >= 0 && p->fd >= 0) {
		close(p->fd);
		p->fd = -1;
	}
	judge(l);
}

void link_use(struct link *l, int port, int fd)
{
	struct port *p = &l->ports[port];

	p->fd = fd;
	fcntl(fd, F_SETOWN, getpid());
	fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC);
	link_probe(l);
}

int link_listen(struct link *l, const char *directory)
{
	static const char *const names[PORTS] = { "ctl", "bulk" };

	for (int i = 0; i < PORTS; i++) {
		struct sockaddr_un a = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (fd < 0)
			return -1;
		l->ports[i].listener = fd;
		if (snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", directory, names[i]) >= (int)sizeof a.sun_path) {
			errno = ENAMETOOLONG;
			return -1;
		}
		unlink(a.sun_path);
		if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 8))
			return -1;
	}
	return 0;
}

static void flush(struct link *l, struct port *p)
{
	while (p->out_start < p->out_end) {
		ssize_t n = p->listener >= 0 ? send(p->fd, p->out + p->out_start, p->out_end - p->out_start, MSG_NOSIGNAL)
					     : write(p->fd, p->out + p->out_start, p->out_end - p->out_start);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			disconnected(l, p);
			return;
		}
		if (n <= 0)
			return;
		p->out_start += (size_t)n;
	}
	p->out_start = p->out_end = 0;
}

static int room(const struct port *p) { return OUT_BYTES - (p->out_end - p->out_start) >= WHOLE; }

static int queue(struct link *l, struct port *p, const struct frame *f, const void *payload)
{
	struct frame whole = *f;
	uint8_t *at;

	if (!p->connected || !p->generation || !room(p))
		return 0;
	if (OUT_BYTES - p->out_end < WHOLE) {
		memmove(p->out, p->out + p->out_start, p->out_end - p->out_start);
		p->out_end -= p->out_start;
		p->out_start = 0;
	}
	at = p->out + p->out_end;
	whole.link = p->generation;
	frame_header(at, &whole);
	if (f->length)
		memcpy(at + FRAME_HEADER, payload, f->length);
	frame_trailer(at + FRAME_HEADER + f->length, whole.link);
	p->out_end += FRAME_HEADER + f->length + FRAME_TRAILER_BYTES;
	if (p->out_end - p->out_start >= WRITE_BYTES)
		flush(l, p);
	return 1;
}

int link_send(struct link *l, const struct frame *f, const void *payload)
{
	if (f->type >= F_OPEN && !l->up)
		return 0;
	return queue(l, &l->ports[f->type == F_DATA || f->type == F_EOF ? PORT_BULK : PORT_CTL], f, payload);
}

int link_has_room(const struct link *l) { return l->up && room(&l->ports[PORT_CTL]) && room(&l->ports[PORT_BULK]); }

static void hello(struct link *l, struct port *p, const struct frame *f)
{
	uint8_t answer[HELLO_BYTES];
	struct frame back = { .type = F_HELLO, .stream = STREAM_NONE, .length = HELLO_BYTES };

	if (f->length != HELLO_BYTES || get32(f->payload + 20) != (uint32_t)p->number || f->link == 0)
		return;
	/* Whatever was going on belonged to an older generation. */
	if (l->up) {
		l->up = 0;
		l->events.down(l->events.user);
	}
	p->generation = f->link;
	p->out_start = p->out_end = 0;
	p->hunting_since_ms = 0;
	memcpy(answer, f->payload, 16);
	put16(answer + 16, PROTOCOL_VERSION);
	put16(answer + 18, 0);
	put32(answer + 20, (uint32_t)p->number);
	queue(l, p, &back, answer);
	judge(l);
}

static void tell_broken(struct link *l, struct port *p)
{
	static const char *const texts[PORTS] = { "framing lost on the control port: waiting for HELLO", "framing lost on the bulk port: waiting for HELLO" };
	struct frame f = { .type = F_LOG, .stream = STREAM_NONE, .flags = 0, .length = (uint32_t)strlen(texts[p->number]) };

	p->hunting_since_ms = 0;
	link_send(l, &f, texts[p->number]);
}

static void parse(struct link *l, struct port *p)
{
	struct frame f;
	int was_framed = !p->parser.hunting;

	while (p->connected && parser_next(&p->parser, &f) == 1) {
		if (f.type == F_HELLO)
			hello(l, p, &f);
		else if (p->generation)
			l->events.frame(l->events.user, p->number, &f);
	}
	if (!p->parser.hunting)
		p->hunting_since_ms = 0;
	else if (was_framed)
		p->hunting_since_ms = clock_ms();
}

static void read_port(struct link *l, struct port *p)
{
	for (int i = 0; i < READS_A_TURN && p->connected; i++) {
		size_t space;
		uint8_t *at = parser_space(&p->parser, &space);
		ssize_t n = read(p->fd, at, space);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			disconnected(l, p);
			return;
		}
		parser_fed(&p->parser, (size_t)n);
		parse(l, p);
	}
}

void link_watch(struct link *l, struct pollset *set)
{
	for (int i = 0; i < PORTS; i++) {
		struct port *p = &l->ports[i];

		p->place = p->listen_place = POLLSET_NONE;
		/* A disconnected virtio port reports POLLHUP without end: it is left alone until SIGIO. */
		if (p->connected)
			p->place = pollset_add(set, p->fd, (short)(POLLIN | (p->out_end > p->out_start ? POLLOUT : 0)));
		else if (p->listener >= 0)
			p->listen_place = pollset_add(set, p->listener, POLLIN);
	}
}

void link_work(struct link *l, const struct pollset *set)
{
	for (int i = 0; i < PORTS; i++) {
		struct port *p = &l->ports[i];
		short came = pollset_events(set, p->place);

		if (pollset_events(set, p->listen_place) && p->fd < 0) {
			p->fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
			p->connected = p->fd >= 0;
		}
		if (came & POLLIN)
			read_port(l, p);
		else if (came & (POLLHUP | POLLERR))
			disconnected(l, p);
		if (p->connected && (came & POLLOUT))
			flush(l, p);
	}
}

void link_flush(struct link *l)
{
	for (int i = 0; i < PORTS; i++)
		if (l->ports[i].connected)
			flush(l, &l->ports[i]);
}

void link_probe(struct link *l)
{
	for (int i = 0; i < PORTS; i++) {
		struct port *p = &l->ports[i];
		struct pollfd q = { .fd = p->fd, .events = POLLIN };

		if (p->connected && p->generation && p->hunting_since_ms && clock_ms() - p->hunting_since_ms > HUNT_MS)
			tell_broken(l, p);
		if (p->connected || p->listener >= 0 || p->fd < 0)
			continue;
		if (poll(&q, 1, 0) >= 0 && !(q.revents & POLLHUP))
			p->connected = 1;
	}
}
