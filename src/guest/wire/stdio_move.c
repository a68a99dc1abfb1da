#define _GNU_SOURCE
#include "stdio_move.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kept.h"
#include "stdio_side.h"

/* A reader that takes nothing for so long gets the rest from the next host: the guest has it still. */
#define DELIVER_MS 2000
/* A caddisd that has the answer writes it down at once. One that says nothing for so long is older than that word. */
#define END_MS 20000
#define STREAM_BYTES 32

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void move_asked(struct stdio *s, const struct frame *f)
{
	s->move_status = (int)(f->offset & 255);
	if (!s->moving)
		s->move_until_ms = now_ms() + DELIVER_MS;
	s->moving = 1;
	if (f->flags & MOVED_END)
		s->move_over = 1;
}

int move_timeout(const struct stdio *s)
{
	int64_t left = s->move_until_ms - now_ms();

	return !s->moving || move_may_end(s) ? -1 : left > 0 ? (int)left : 0;
}

int move_may_end(const struct stdio *s) { return s->moved && (s->move_over || now_ms() >= s->move_until_ms); }

static int undelivered(const struct stdio *s) { return s->out[0].ring.end > s->out[0].ring.base || s->out[1].ring.end > s->out[1].ring.base; }

static void describe(const struct stdio_output *o, uint8_t out[STREAM_BYTES])
{
	put64(out, o->ring.base);
	/* What a broken stream consumed is nowhere. */
	put64(out + 8, o->regular && !o->broken ? o->file_base + o->ring.base : KEPT_NONE);
	put64(out + 16, o->device);
	put64(out + 24, o->inode);
}

void move_work(struct stdio *s)
{
	struct frame f = { .type = F_MOVED, .stream = STREAM_NONE, .session = s->session, .length = 2 * STREAM_BYTES };
	uint8_t b[2 * STREAM_BYTES];

	/* What the scheduler sent before is the job's, wherever it goes on. */
	if (s->moved || s->signal_count || (undelivered(s) && now_ms() < s->move_until_ms))
		return;
	for (int i = 0; i < 2; i++)
		describe(&s->out[i], b + i * STREAM_BYTES);
	s->moved = s->host.send(s->host.user, &f, b);
	if (s->moved)
		s->move_until_ms = now_ms() + END_MS;
}

/* Where the next byte will go in the file. */
static uint64_t standing(const struct stdio_output *o)
{
	struct stat st;
	off_t at = fcntl(o->fd, F_GETFL) & O_APPEND ? (fstat(o->fd, &st) ? 0 : st.st_size) : lseek(o->fd, 0, SEEK_CUR);

	return at < 0 ? 0 : (uint64_t)at;
}

static int complain(const struct kept *k, const char *why)
{
	char text[PATH_MAX + 400];
	int n;

	if (!why[0])
		return 0;
	n = snprintf(text, sizeof text, "caddis: what this job wrote before it was moved cannot be put back from %s: %s\n", k->path, why);
	if (write(STDERR_FILENO, text, (size_t)n) < 0) { /* nowhere to say so */
	}
	return 1;
}

static void put_back(struct stdio *s, const struct kept kept[2])
{
	struct stdio_output *o = s->out;
	int shared = o[0].regular && o[1].regular && o[0].device == o[1].device && o[0].inode == o[1].inode, complained;
	uint64_t at[2] = { KEPT_NONE, KEPT_NONE };
	char why[2][256] = { "", "" };

	for (int i = 0; i < 2; i++)
		if (o[i].regular && kept[i].path[0] && !(i && shared && kept[0].path[0]) && !kept_restore(&kept[i], o[i].fd, why[i]))
			at[i] = kept[i].length;
	complained = complain(&kept[0], why[0]) | complain(&kept[1], why[1]);
	if (shared)
		at[0] = at[1] = at[0] == KEPT_NONE ? at[1] : at[0];
	/* What we said ourselves stands in there as well. */
	if (complained)
		at[1] = KEPT_NONE;
	if (complained && shared)
		at[0] = KEPT_NONE;
	for (int i = 0; i < 2; i++)
		if (o[i].regular)
			o[i].file_base = (at[i] == KEPT_NONE ? standing(&o[i]) : at[i]) - kept[i].delivered;
}

const char *move_resume(struct stdio *s, const struct frame *f)
{
	struct kept kept[2];
	const char *why;

	if (!s->awaits_resume)
		return "RESUME that no OPENED announced";
	if (f->flags & FRAME_MORE || f->offset)
		return "RESUME in parts";
	if ((why = kept_parse(f->payload, f->length, kept)))
		return why;
	/* Said again because the connection broke: it is done. */
	if (!s->resumed) {
		put_back(s, kept);
		for (int i = 0; i < 2; i++)
			s->out[i].ring.base = s->out[i].ring.end = s->out[i].acked = kept[i].delivered;
		s->in.anew = 1;
	}
	s->resumed = 1;
	s->awaits_resume = 0;
	s->want_attach = 1;
	return NULL;
}
