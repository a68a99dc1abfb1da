#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "document.h"
#include "file.h"

#define CLIENTS 256
/* Two full windows with their headers: what the host may have in flight to a stub that does not read. More is a broken host. */
#define OUT_MOST (4u * STREAM_WINDOW)
#define GUEST_OPENED (1ull << 63)

struct client {
	struct client *next;
	int fd;
	uint64_t session; /* 0 until its OPEN */
	struct ucred who;
	uint64_t parent;
	struct parser parser;
	size_t place;
	uint8_t *out;
	size_t out_start, out_end, out_capacity;
	struct assembler *documents; /* while its OPEN arrives */
	struct tlv_writer open; /* its OPEN as we pass it on */
	size_t open_sent;
	int opening, exited, dead;
	int kill_wanted, ack_wanted; /* the stub died: end its command, then take its status */
};

struct relay {
	struct link *link;
	int listener;
	size_t place, count;
	struct client *first;
};

struct relay *relay_new(struct link *link, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct relay *r = calloc(1, sizeof *r);
	int error;

	if (!r || snprintf(a.sun_path, sizeof a.sun_path, "%s", path) >= (int)sizeof a.sun_path) {
		free(r);
		errno = r ? ENAMETOOLONG : ENOMEM;
		return NULL;
	}
	r->link = link;
	unlink(path);
	r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (r->listener >= 0 && !bind(r->listener, (struct sockaddr *)&a, sizeof a) && !listen(r->listener, 64) && !chmod(path, 0666))
		return r;
	error = errno;
	if (r->listener >= 0)
		close(r->listener);
	free(r);
	errno = error;
	return NULL;
}

/* The session that a process belongs to, by its cgroup (0::/caddis/s<ID>): what the caller cannot change. 0: none. */
static uint64_t session_of(pid_t pid)
{
	char path[64], text[512], *at;

	snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
	if (file_read(path, text, sizeof text) <= 0 || !(at = strstr(text, "0::/caddis/s")))
		return 0;
	return strtoull(at + 12, NULL, 10);
}

static void accept_client(struct relay *r)
{
	int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;
	socklen_t n = sizeof c->who;

	if (fd < 0)
		return;
	c = calloc(1, sizeof *c);
	if (!c || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->who, &n) || parser_init(&c->parser, 0)) {
		free(c);
		close(fd);
		return;
	}
	c->fd = fd;
	c->place = POLLSET_NONE;
	c->parent = session_of(c->who.pid);
	c->next = r->first;
	r->first = c;
	r->count++;
}

static void drop(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	parser_free(&c->parser);
	free(c->out);
	c->out = NULL;
	c->out_start = c->out_end = c->out_capacity = 0;
	tlv_free(&c->open);
	if (c->documents) {
		assembler_reset(c->documents);
		free(c->documents);
		c->documents = NULL;
	}
	/* Natively its death would be the command's: so it is here. */
	c->kill_wanted = c->session && !c->opening && !c->exited;
	/* Its own EXIT_ACK may have been cut off; a second one does no harm. */
	c->ack_wanted = c->exited;
	c->dead = !c->kill_wanted && !c->ack_wanted;
}

static int grow(struct client *c, size_t need)
{
	size_t used = c->out_end - c->out_start, capacity = c->out_capacity ? c->out_capacity : 8192;
	uint8_t *out;

	if (c->out_start) {
		memmove(c->out, c->out + c->out_start, used);
		c->out_start = 0;
		c->out_end = used;
	}
	if (used + need > OUT_MOST)
		return -1;
	while (capacity < used + need)
		capacity *= 2;
	if (capacity == c->out_capacity)
		return 0;
	out = realloc(c->out, capacity);
	if (!out)
		return -1;
	c->out = out;
	c->out_capacity = capacity;
	return 0;
}

static void flush(struct client *c)
{
	while (c->fd >= 0 && c->out_start < c->out_end) {
		ssize_t n = send(c->fd, c->out + c->out_start, c->out_end - c->out_start, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno != EINTR) {
			drop(c);
			return;
		}
		c->out_start += n > 0 ? (size_t)n : 0;
	}
	c->out_start = c->out_end = 0;
	/* A burst's memory goes back. */
	if (c->out_capacity > 65536) {
		free(c->out);
		c->out = NULL;
		c->out_capacity = 0;
	}
}

static void to_client(struct client *c, const struct frame *f)
{
	struct frame local = *f;

	if (c->fd < 0)
		return;
	local.link = 0;
	if (c->out_capacity - c->out_end < FRAME_HEADER + f->length + FRAME_TRAILER_BYTES && grow(c, FRAME_HEADER + f->length + FRAME_TRAILER_BYTES)) {
		drop(c);
		return;
	}
	frame_header(c->out + c->out_end, &local);
	if (f->length)
		memcpy(c->out + c->out_end + FRAME_HEADER, f->payload, f->length);
	frame_trailer(c->out + c->out_end + FRAME_HEADER + f->length, 0);
	c->out_end += FRAME_HEADER + f->length + FRAME_TRAILER_BYTES;
	flush(c);
}

void relay_frame(struct relay *r, const struct frame *f)
{
	struct frame ack = { .type = F_EXIT_ACK, .stream = STREAM_NONE, .session = f->session };
	struct client *c = NULL;

	if (r)
		for (c = r->first; c && c->session != f->session;)
			c = c->next;
	if (f->type == F_EXIT && c) {
		c->exited = 1;
		if (c->fd < 0) {
			c->kill_wanted = 0;
			c->ack_wanted = 1;
		}
	}
	if (c && c->fd >= 0)
		to_client(c, f);
	else if (f->type == F_EXIT && !c && r)
		link_send(r->link, &ack, NULL); /* its stub is long gone: nobody wants the status */
}

void relay_up(struct relay *r)
{
	if (!r)
		return;
	for (struct client *c = r->first; c; c = c->next) {
		struct frame f = { .type = F_LOST, .stream = STREAM_NONE, .session = c->session };

		if (c->opening)
			c->open_sent = 0;
		else if (c->session)
			to_client(c, &f);
	}
}

/* The stub's OPEN with the caller's identity as the kernel knows it. */
static int rewrite(struct client *c, const uint8_t *document, size_t length)
{
	struct tlv_reader in = { document, document + length };
	const uint8_t *v;
	uint32_t n;
	uint16_t tag;
	int more;

	tlv_put_u64(&c->open, T_PARENT, c->parent);
	tlv_put_u64(&c->open, T_UID, c->who.uid);
	tlv_put_u64(&c->open, T_GID, c->who.gid);
	tlv_put_u64(&c->open, T_PID, (uint64_t)c->who.pid);
	while ((more = tlv_next(&in, &tag, &v, &n)) == 1)
		if (tag != T_PARENT && tag != T_UID && tag != T_GID && tag != T_GROUP && tag != T_PID)
			tlv_put(&c->open, tag, v, n);
	return more < 0 || c->open.failed ? -1 : 0;
}

static int take_open(struct client *c, const struct frame *f)
{
	struct frame first = *f;
	const uint8_t *document;
	size_t length;
	int whole;

	if (c->session || (!c->documents && !(c->documents = calloc(1, sizeof *c->documents))))
		return -1;
	first.session = 0;
	whole = assembler_take(c->documents, &first, &document, &length);
	if (whole < 1)
		return whole;
	if (rewrite(c, document, length) || getrandom(&c->session, sizeof c->session, 0) != (ssize_t)sizeof c->session)
		return -1;
	assembler_reset(c->documents);
	free(c->documents);
	c->documents = NULL;
	c->session |= GUEST_OPENED;
	c->opening = 1;
	c->open_sent = 0;
	return 0;
}

static int stub_may(uint8_t type)
{
	return type == F_ATTACH || type == F_DATA || type == F_EOF || type == F_ACK || type == F_SIGNAL || type == F_WINSIZE || type == F_EXIT_ACK;
}

/* Takes frames while the link has room: what it cannot take stays in the stub's socket. */
static int pass_on(struct relay *r, struct client *c)
{
	struct frame f;
	int got = 0;

	while (!c->opening && link_has_room(r->link) && (got = parser_next(&c->parser, &f)) == 1) {
		if (f.type == F_OPEN) {
			if (take_open(c, &f))
				return -1;
			continue;
		}
		if (!c->session || !stub_may(f.type))
			return -1;
		f.session = c->session;
		link_send(r->link, &f, f.payload);
	}
	return got < 0 ? -1 : 0;
}

static void send_open(struct relay *r, struct client *c)
{
	while (c->opening) {
		struct frame f = { .type = F_OPEN, .stream = STREAM_NONE, .session = c->session };
		const uint8_t *part = document_part(c->open.data, c->open.length, c->open_sent, &f);

		if (!link_send(r->link, &f, part))
			return;
		c->open_sent += f.length;
		if (!(f.flags & FRAME_MORE)) {
			c->opening = 0;
			tlv_free(&c->open);
		}
	}
}

static void read_client(struct client *c)
{
	size_t space;
	uint8_t *at = parser_space(&c->parser, &space);
	ssize_t n = space ? read(c->fd, at, space) : -1;

	if (n > 0)
		parser_fed(&c->parser, (size_t)n);
	else if (n == 0 || !space || (errno != EAGAIN && errno != EINTR))
		drop(c);
}

/* For a stub that is gone. */
static void bury(struct relay *r, struct client *c)
{
	struct frame f = { .stream = STREAM_NONE, .session = c->session };

	if (c->kill_wanted) {
		f.type = F_SIGNAL;
		f.offset = 9;
		if (link_send(r->link, &f, NULL)) {
			c->kill_wanted = 0;
			/* Its EXIT is answered when it comes, with or without this record. */
			c->dead = 1;
		}
	} else if (c->ack_wanted) {
		f.type = F_EXIT_ACK;
		if (link_send(r->link, &f, NULL))
			c->dead = 1;
	}
}

void relay_watch(struct relay *r, struct pollset *set)
{
	if (!r)
		return;
	r->place = r->count < CLIENTS ? pollset_add(set, r->listener, POLLIN) : POLLSET_NONE;
	for (struct client *c = r->first; c; c = c->next) {
		size_t space = 0;
		short events = (short)(c->out_end > c->out_start ? POLLOUT : 0);

		c->place = POLLSET_NONE;
		if (c->fd < 0)
			continue;
		/* Without a link there is nobody to talk to: the stub's bytes wait in its socket. */
		parser_space(&c->parser, &space);
		if (link_has_room(r->link) && space)
			events |= POLLIN;
		c->place = pollset_add(set, c->fd, events);
	}
}

void relay_work(struct relay *r, const struct pollset *set)
{
	struct client *c;

	if (!r)
		return;
	if (pollset_events(set, r->place))
		accept_client(r);
	for (struct client **link = &r->first; (c = *link);) {
		short came = pollset_events(set, c->place);

		c->place = POLLSET_NONE;
		if (c->fd >= 0 && (came & POLLOUT))
			flush(c);
		/* No room and hung up: what it still had to say can wait no longer. */
		if (c->fd >= 0 && (came & (POLLIN | POLLHUP | POLLERR)))
			read_client(c);
		if (c->fd >= 0 && pass_on(r, c))
			drop(c);
		if (c->opening && c->fd >= 0)
			send_open(r, c);
		if (c->fd < 0)
			bury(r, c);
		if (c->dead) {
			*link = c->next;
			r->count--;
			free(c);
		} else {
			link = &c->next;
		}
	}
}
