/* One connection to caddisd (or, in the guest, to the agent's relay): frames out through a bounded queue, frames in through a parser. */
#ifndef CADDIS_CHANNEL_H
#define CADDIS_CHANNEL_H

#include "frame.h"
#include "pollset.h"

struct channel {
	int fd; /* -1: not connected */
	struct parser parser;
	uint8_t *out;
	size_t out_start, out_end, out_capacity, place;
};

int channel_init(struct channel *c); /* -1: out of memory */
/* One try to connect to the unix socket at `path`. 0, or -1 with errno; a listener that is neither root nor this user is refused with EPERM. */
int channel_connect(struct channel *c, const char *path);
/* Ends the connection; what was not sent is dropped. */
void channel_close(struct channel *c);
/* Queues a frame whole: 1, or 0 when the queue is full or there is no connection. Has the type that wire libraries want: `user` is a struct channel. */
int channel_send(void *user, const struct frame *frame, const void *payload);
size_t channel_queued(const struct channel *c);
void channel_watch(struct channel *c, struct pollset *set);
/* Reads and writes what poll(2) allows. 0, or -1 when the connection is gone (frames that arrived before may still be taken). */
int channel_work(struct channel *c, const struct pollset *set);
/* 1 a frame, 0 none for now, -1 the peer sent no frames of ours. */
int channel_next(struct channel *c, struct frame *f);

#endif
