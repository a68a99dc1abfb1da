/* The host's end of a link to `caddis-init --agent DIR`, for tests: blocking with deadlines. */
#ifndef CADDIS_PEER_H
#define CADDIS_PEER_H

#include <sys/types.h>

#include "frame.h"

struct peer {
	int fds[2]; /* ctl, bulk */
	struct parser parsers[2];
	uint32_t generation;
};

/* Starts the agent in a fresh directory; returns its pid. `directory` gets the path. */
pid_t agent_start(const char *program, char directory[64]);
/* SIGTERM; returns its wait status. */
int agent_stop(pid_t pid, const char *directory);

/* Connects both ports and says HELLO; 0, or -1 when no echo came within 10 s. */
int peer_connect(struct peer *p, const char *directory);
void peer_close(struct peer *p);
/* Sends a frame (its link is filled here); 0 or -1. */
int peer_send(struct peer *p, struct frame f, const void *payload);
/* The next frame from either port: 1, 0 after `ms` without one, -1 the agent hung up or broke the framing. */
int peer_next(struct peer *p, struct frame *f, int ms);

#endif
