/*
 * The stdio side of one session (docs/protocol.md): carries descriptors 0, 1 and 2 of this process as windowed byte streams, comes back to the session after
 * a lost connection without losing or repeating a byte, and knows how the session ended. caddis-hook uses it for steps, the relay stub for commands.
 * No threads; it never sets O_NONBLOCK, since the descriptors are shared with others: it asks poll(2) and writes what then fits.
 * (Not called stdio.h: with -I that would hide the C library's.)
 *
 *   stdio_init(&s, &host, wants_stdin, tty);
 *   on OPENED: stdio_opened(&s, id, come_back, resumes); for each frame of the session: stdio_frame(&s, &frame);
 *   loop: stdio_watch(&s, &set); poll(set, stdio_timeout(&s)); stdio_work(&s, &set); until stdio_finished(&s)
 *   the connection broke: stdio_disconnected(&s), connect again, OPEN with the session's id
 */
#ifndef CADDIS_STDIO_SIDE_H
#define CADDIS_STDIO_SIDE_H

#include <sys/ioctl.h>
#include <sys/types.h>

#include "frame.h"
#include "pollset.h"
#include "ring.h"
#include "stdio_output.h"

/* Signals that wait for the session to be reachable; a process cannot tell more than a few apart anyway. */
#define STDIO_SIGNALS 64

struct stdio_host {
	void *user;
	/* Queues a frame whole and returns 1, or returns 0 because there is no room now: it is offered again in the next stdio_work. */
	int (*send)(void *user, const struct frame *frame, const void *payload);
};

/* Bytes from our descriptor: the ring holds what was not acknowledged. */
struct stdio_input {
	struct ring ring;
	uint64_t sent;
	off_t file_base; /* -1: cannot seek */
	size_t place;
	int fd, eof, eof_sent;
	int anew; /* an earlier process sent what was accepted: ours begins there */
};

enum stdio_state { STDIO_NEW, STDIO_ATTACHING, STDIO_FLOWING, STDIO_ENDED };

struct stdio {
	struct stdio_host host;
	uint64_t session;
	enum stdio_state state;
	int tty, want_attach, attach_sent, background, ack_sent;
	int awaits_resume, resumed; /* it comes from another host */
	int moving, moved, move_over; /* it goes to another host; the answer is queued; it was written down */
	int move_status; /* what this process then ends with */
	int64_t move_until_ms;
	struct stdio_input in;
	struct stdio_output out[2]; /* streams 1 and 2 */
	struct { uint8_t number, scope; } signals[STDIO_SIGNALS];
	size_t signal_count;
	struct winsize size;
	int want_size;
	int has_exit;
	uint32_t exit_kind, exit_value;
	uint16_t exit_flags;
	uint64_t ends[2];
	char message[4200];
	const char *wrong; /* what the last refused frame did */
};

/* `with_stdin` 0: descriptor 0 is left alone. `tty`: all goes through stream 1, and the end of stdin is not told. */
void stdio_init(struct stdio *s, const struct stdio_host *host, int with_stdin, int tty);
/*
 * The session has this id. `come_back`: bytes may have flowed before, so offsets are agreed on by ATTACH first. `resumes`: it goes on from another host, and RESUME says
 * where, before that ATTACH.
 */
void stdio_opened(struct stdio *s, uint64_t session, int come_back, int resumes);
/* 0, or -1 when the peer broke the protocol (s->wrong says how). Frames for other sessions are not for this function. */
int stdio_frame(struct stdio *s, const struct frame *f);
/* The way to the session is gone for now. */
void stdio_disconnected(struct stdio *s);
/* The other end has another session for us than the one we had (it refuses us by text): its output is delivered after ours. */
void stdio_replaced(struct stdio *s, uint64_t session);
void stdio_watch(struct stdio *s, struct pollset *set);
/* Milliseconds until stdio_work has something to do by itself, -1 for never. */
int stdio_timeout(const struct stdio *s);
void stdio_work(struct stdio *s, const struct pollset *set);
/* Sent as soon as the session can be reached, in order; `scope` is an enum signal_scope. */
void stdio_signal(struct stdio *s, int number, int scope);
void stdio_winsize(struct stdio *s, const struct winsize *size);
/* 1 when the exit is known and all output was received: nothing is needed from the other side any more. */
int stdio_complete(const struct stdio *s);
/* 1 when the session goes on elsewhere, the answer that says how far we came is queued, and its receiver has it for good: nothing is left to do here once all is sent. */
int stdio_moved(const struct stdio *s);
/* 1 when the exit is known, all output was delivered and EXIT_ACK was queued. */
int stdio_finished(const struct stdio *s);
void stdio_free(struct stdio *s);

#endif
