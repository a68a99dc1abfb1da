/*
 * The guest link: two ports with HELLO, generations and bounded output (docs/protocol.md). A port is a virtio-serial device in the guest, or (agent mode) a unix
 * socket that we listen on as QEMU would, one client at a time.
 */
#ifndef CADDIS_LINK_H
#define CADDIS_LINK_H

#include "frame.h"
#include "pollset.h"

enum { PORT_CTL = 0, PORT_BULK = 1, PORTS = 2 };

struct port {
	int number, fd, listener;
	int connected; /* someone is at the other end, as far as we know */
	uint32_t generation; /* of the last HELLO; 0: none since the connection */
	struct parser parser;
	uint8_t *out; /* what write(2) did not take yet: [out_start, out_end) */
	size_t out_start, out_end;
	size_t place, listen_place;
	int64_t hunting_since_ms; /* 0: framing is fine, or the host was told */
};

struct link_events {
	void *user;
	void (*frame)(void *user, int port, const struct frame *f);
	void (*up)(void *user); /* both ports carry the same new generation */
	void (*down)(void *user); /* called before any up but the first */
};

struct link {
	struct port ports[PORTS];
	struct link_events events;
	int up;
};

int link_init(struct link *l, const struct link_events *events); /* -1: out of memory */
/* Uses an open virtio-serial port. */
void link_use(struct link *l, int port, int fd);
/* Listens on unix sockets DIR/ctl and DIR/bulk; -1 with errno. */
int link_listen(struct link *l, const char *directory);
/* Queues a frame (its `link` is filled here) on the port it belongs to: 1 taken, 0 no room or no link. */
int link_send(struct link *l, const struct frame *f, const void *payload);
/* Whether a frame of any size has room on both ports. */
int link_has_room(const struct link *l);
void link_watch(struct link *l, struct pollset *set);
void link_work(struct link *l, const struct pollset *set);
/* Writes what is queued, as far as the ports take it. */
void link_flush(struct link *l);
/* Looks whether a disconnected virtio port is connected again (after SIGIO, and now and then). */
void link_probe(struct link *l);

#endif
