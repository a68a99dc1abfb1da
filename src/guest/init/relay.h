/*
 * The relay: command stubs in the guest (srun, qsub, ...) connect to a unix socket; each connection is one session that the guest opens towards the host. Frames are
 * routed, not read, except that the agent names the caller (uid, gid, session) itself: what a stub says about that is dropped.
 */
#ifndef CADDIS_RELAY_H
#define CADDIS_RELAY_H

#include "link.h"

#define RELAY_SOCKET "/run/caddis/relay.sock"

struct relay;

/* Listens on `path` (mode 0666); NULL with errno. */
struct relay *relay_new(struct link *link, const char *path);
/* The following do nothing for a NULL relay. */
void relay_watch(struct relay *r, struct pollset *set);
void relay_work(struct relay *r, const struct pollset *set);
/* A frame from the host for a session that the guest opened. */
void relay_frame(struct relay *r, const struct frame *f);
/* The link is new: stubs are told (LOST, flags 0) and answer with ATTACH. */
void relay_up(struct relay *r);

#endif
