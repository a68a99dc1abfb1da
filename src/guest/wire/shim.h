/*
 * One call that is carried to somewhere else: connect, say what was asked for (an OPEN document made from this process), then be its stdio, terminal and signals
 * until it ends, and end the same way. caddis-hook on the host and the relay stub in the guest are this with another address.
 */
#ifndef CADDIS_SHIM_H
#define CADDIS_SHIM_H

#include "frame.h"
#include "pollset.h"

/* sysexits(3): nobody listens, the other end broke the protocol, the session was lost. */
#define SHIM_USAGE 64
#define SHIM_UNREACHABLE 69
#define SHIM_PROTOCOL 70
#define SHIM_LOST 75

struct shim_relay; /* runs commands here for the other end: caddis-hook only */

struct shim {
	const char *path;       /* unix socket */
	const char *verb;       /* NULL: the document has no VERB (stub) */
	char **argv;            /* ARGs, NULL-terminated */
	char **env;
	int session;            /* stdio, terminal and signals are carried; 0: only text comes back */
	double connect_seconds; /* bound on the first connection */
	double lost_seconds;    /* bound on each later one; 0: a lost connection ends the call */
	const char *unreachable; /* what the user is told when nobody listens; NULL: nothing */
	/* Set by caddis-hook: frames with bit 63 go there. */
	const struct shim_relay_ops *relay;
};

struct shim_relay_ops {
	/* `send` as in process_host. */
	void *(*start)(int (*send)(void *user, const struct frame *f, const void *payload), void *user);
	void (*frame)(void *relay, const struct frame *f);
	void (*detach)(void *relay);
	void (*watch)(void *relay, struct pollset *set);
	int (*timeout)(void *relay);
	void (*work)(void *relay, const struct pollset *set);
	void (*reap)(void *relay);
	void (*end)(void *relay);
};

/* Returns the exit status; does not return when the process died of a signal: then this one does too. */
int shim_run(const struct shim *shim);

#endif
