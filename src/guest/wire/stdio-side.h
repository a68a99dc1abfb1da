/*
 * The stdio side of a session (docs/protocol.md): reads descriptor 0 within the window, delivers streams 1 and 2 to descriptors 1 and 2, acknowledges what was written,
 * keeps unacknowledged stdin, and knows when all is done. Used by caddis-hook and by the relay stub; the owner runs the poll(2) loop and the connection.
 */
#ifndef CADDIS_STDIO_H
#define CADDIS_STDIO_H

#include "frame.h"
#include "pollset.h"
#include "ring.h"

struct stdio_output {
	struct ring ring;      /* what could not be written yet; ring.base = delivered */
	uint64_t acknowledged; /* last ACK that was sent */
	int fd;
	int direct; /* regular file: written at once, never through the ring */
	int gone;   /* nobody reads: what comes is thrown away */
	size_t place;
};

struct stdio {
	void *user;
	/* Queues a frame whole: 1, or 0 for no room now. */
	int (*send)(void *user, const struct frame *frame, const void *payload);
	uint64_t session;
	struct stdio_output out[2];
	struct ring in;        /* in.base = acknowledged by the process side, in.end = read */
	uint64_t in_sent;      /* next position to send */
	size_t in_place;
	int in_used, in_open, in_eof_sent, tty;
	int attached;          /* frames may be sent */
	int exited;            /* EXIT came */
	uint32_t exit_kind, exit_value;
	uint64_t ends[2];
	char message[4097];
};

/* `read_stdin` 0: descriptor 0 is left alone (hooks, /dev/null). `tty`: the end of descriptor 0 is not passed on. */
void stdio_init(struct stdio *s, int read_stdin, int tty);
/* OPENED for a new session: everything starts at 0. */
void stdio_opened(struct stdio *s, uint64_t session);
/* The way to the process side is gone: send nothing until ATTACHED. */
void stdio_detached(struct stdio *s);
/* Fills `f` and `payload` with the ATTACH to send after a reconnection. */
void stdio_attach(const struct stdio *s, struct frame *f, uint8_t payload[24]);
/* A frame of this session: 0; -1 when it breaks the protocol; -2 when the process side does not know the session. */
int stdio_frame(struct stdio *s, const struct frame *f);
void stdio_watch(struct stdio *s, struct pollset *set);
void stdio_work(struct stdio *s, const struct pollset *set);
/* The exit came and all output before it was delivered: send EXIT_ACK and end. */
int stdio_done(const struct stdio *s);

#endif
