#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Room for a window of stdin and the small frames beside it; more waits in its own ring. */
#define QUEUE_MOST (2u * STREAM_WINDOW)
/* An idle client's share of the queue. */
#define QUEUE_KEPT 16384u

int channel_init(struct channel *c)
{
	memset(c, 0, sizeof *c);
	c->fd = -1;
	c->place = POLLSET_NONE;
	return parser_init(&c->parser, 0);
}

int channel_connect(struct channel *c, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct ucred peer;
	socklen_t n = sizeof peer;
	int fd, error;

	if (strlen(path) >= sizeof a.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&a, sizeof a) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n)) {
		error = errno;
	} else if (peer.uid != 0 && peer.uid != geteuid()) {
		error = EPERM;
	} else {
		c->fd = fd;
		parser_reset(&c->parser);
		return 0;
	}
	close(fd);
	errno = error;
	return -1;
}

void channel_close(struct channel *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->place = POLLSET_NONE;
	free(c->out);
	c->out = NULL;
	c->out_start = c->out_end = c->out_capacity = 0;
}

static int make_room(struct channel *c, size_t need)
{
	size_t used = c->out_end - c->out_start, capacity = c->out_capacity ? c->out_capacity : 4096;
	uint8_t *out;

	if (c->out_capacity - c->out_end >= need)
		return 0;
	if (used + need > QUEUE_MOST)
		return -1;
	if (c->out_start) {
		memmove(c->out, c->out + c->out_start, used);
		c->out_start = 0;
		c->out_end = used;
	}
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

int channel_send(void *user, const struct frame *frame, const void *payload)
{
	struct channel *c = user;
	struct frame f = *frame;

	f.link = 0;
	if (c->fd < 0 || make_room(c, FRAME_HEADER + f.length + FRAME_TRAILER_BYTES))
		return 0;
	frame_header(c->out + c->out_end, &f);
	if (f.length)
		memcpy(c->out + c->out_end + FRAME_HEADER, payload, f.length);
	frame_trailer(c->out + c->out_end + FRAME_HEADER + f.length, 0);
	c->out_end += FRAME_HEADER + f.length + FRAME_TRAILER_BYTES;
	return 1;
}

size_t channel_queued(const struct channel *c) { return c->out_end - c->out_start; }

void channel_watch(struct channel *c, struct pollset *set)
{
	c->place = pollset_add(set, c->fd, (short)(POLLIN | (channel_queued(c) ? POLLOUT : 0)));
}

static int flush(struct channel *c)
{
	while (c->out_start < c->out_end) {
		ssize_t n = send(c->fd, c->out + c->out_start, c->out_end - c->out_start, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != EINTR)
			return -1;
		c->out_start += n > 0 ? (size_t)n : 0;
	}
	c->out_start = c->out_end = 0;
	if (c->out_capacity > QUEUE_KEPT) {
		free(c->out);
		c->out = NULL;
		c->out_capacity = 0;
	}
	return 0;
}

int channel_work(struct channel *c, const struct pollset *set)
{
	short came = pollset_events(set, c->place);
	size_t room;
	uint8_t *at;
	ssize_t n;

	c->place = POLLSET_NONE;
	if (c->fd < 0)
		return -1;
	if (came & (POLLIN | POLLHUP | POLLERR)) {
		at = parser_space(&c->parser, &room);
		n = room ? recv(c->fd, at, room, 0) : -1;
		if (n > 0)
			parser_fed(&c->parser, (size_t)n);
		else if (n == 0 || !room || (errno != EAGAIN && errno != EINTR))
			return -1;
	}
	/* A broken way out is found by reading: what the peer said last is still to be had. */
	if (channel_queued(c) && flush(c))
		c->out_start = c->out_end = 0;
	return 0;
}

int channel_next(struct channel *c, struct frame *f) { return parser_next(&c->parser, f); }
