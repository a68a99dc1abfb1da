#define _GNU_SOURCE
#include "stdio_output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* pipe(7): POLLOUT promises PIPE_BUF; tty(4): the smallest room that a terminal reports as writable. */
#define PIPE_CHUNK 4096u
#define TTY_CHUNK 256u

void output_init(struct stdio_output *o, int fd)
{
	struct stat st;
	off_t at;

	o->fd = fd;
	o->place = POLLSET_NONE;
	o->chunk = PIPE_CHUNK;
	if (fstat(fd, &st))
		return;
	o->device = st.st_dev;
	o->inode = st.st_ino;
	if (S_ISREG(st.st_mode)) {
		o->regular = 1;
		o->chunk = 0;
		at = fcntl(fd, F_GETFL) & O_APPEND ? st.st_size : lseek(fd, 0, SEEK_CUR);
		o->file_base = at < 0 ? 0 : (uint64_t)at;
	} else if (isatty(fd)) {
		o->chunk = TTY_CHUNK;
	}
}

static void write_all(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno != EINTR)
			return;
		text += n > 0 ? n : 0;
		left -= n > 0 ? (size_t)n : 0;
	}
}

void output_roll_back(struct stdio_output *o, uint64_t produced)
{
	struct stat st;
	uint64_t end_at = o->file_base + o->ring.base, cut_at = o->file_base + produced;
	char text[128];

	o->ring.base = o->ring.end = o->acked = produced;
	if (o->broken)
		return;
	if (o->regular && !fstat(o->fd, &st) && (uint64_t)st.st_size == end_at && !ftruncate(o->fd, (off_t)cut_at)) {
		if (!(fcntl(o->fd, F_GETFL) & O_APPEND))
			lseek(o->fd, (off_t)cut_at, SEEK_SET);
		return;
	}
	snprintf(text, sizeof text, "\ncaddis: the job goes on from an earlier state: output from byte %llu on comes again\n", (unsigned long long)produced);
	write_all(o->fd, text);
	o->regular = 0; /* its length does not say what was delivered any more */
}

void output_shut(struct stdio_output *o)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	/* Not just closed: the number would be given to the next descriptor. */
	if (null >= 0) {
		dup2(null, o->fd);
		close(null);
	}
}

/* The reader is gone, or the disk is full: the process is told as a pipe would, by its writer's SIGPIPE. */
static void break_output(struct stdio_output *o, int error)
{
	char text[160];

	o->broken = 1;
	o->eof_wanted = 1;
	o->ring.base = o->ring.end;
	ring_free(&o->ring);
	if (error == EPIPE || o->fd == STDERR_FILENO)
		return;
	snprintf(text, sizeof text, "caddis: cannot write the standard output: %s\n", strerror(error));
	write_all(STDERR_FILENO, text);
}

static int may_write(const struct stdio_output *o)
{
	struct pollfd p = { .fd = o->fd, .events = POLLOUT };

	return !o->chunk || poll(&p, 1, 0) == 1;
}

/* Writes as much as does not block; returns the bytes taken. */
static size_t put(struct stdio_output *o, const uint8_t *bytes, size_t length)
{
	size_t done = 0;

	while (done < length && !o->broken && may_write(o)) {
		size_t most = o->chunk && length - done > o->chunk ? o->chunk : length - done;
		ssize_t n = write(o->fd, bytes + done, most);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR)
			break_output(o, errno);
		done += n > 0 ? (size_t)n : 0;
	}
	return o->broken ? length : done;
}

void output_drain(struct stdio_output *o)
{
	struct ring *r = &o->ring;

	while (r->end > r->base) {
		size_t length, done;
		const uint8_t *p = ring_at(r, r->base, STREAM_WINDOW, &length);

		done = put(o, p, length);
		if (o->broken)
			return;
		r->base += done;
		if (done < length)
			return;
	}
	ring_free(r);
}

const char *output_take(struct stdio_output *o, const struct frame *f)
{
	const uint8_t *bytes = f->payload;
	size_t length = f->length, done;

	if (f->offset > o->ring.end)
		return "DATA beyond a gap";
	if (o->ring.end - f->offset >= length)
		return NULL;
	bytes += o->ring.end - f->offset;
	length -= (size_t)(o->ring.end - f->offset);
	if (length > ring_room(&o->ring))
		return "DATA beyond the window";
	if (o->broken) {
		o->ring.base = o->ring.end += length;
		return NULL;
	}
	if (o->ring.end == o->ring.base) {
		done = put(o, bytes, length);
		o->ring.base = o->ring.end += done;
		bytes += done;
		length -= done;
	}
	return length && ring_put(&o->ring, bytes, length) ? "no memory for its output" : NULL;
}

void output_forget(struct stdio_output *o)
{
	o->ring.end = o->ring.base;
	ring_free(&o->ring);
}
