/*
 * One call from its OPEN to its end: connects, sends what this process is, carries stdio, signals and the terminal, comes back after a lost connection, runs relayed
 * commands. The one poll(2) loop of caddis-hook and of the relay stub.
 */
#ifndef CADDIS_CLIENT_H
#define CADDIS_CLIENT_H

#include "call.h"

/* sysexits(3), listed in docs/hooks.md. */
#define STATUS_USAGE 64
#define STATUS_UNREACHABLE 69
#define STATUS_PROTOCOL 70
#define STATUS_LOST 75

struct client_options {
	struct call call;
	const char *path; /* of the unix socket */
	int connect_timeout_ms;
	int come_back_ms; /* how long a lost connection is tried again; 0: its loss is the end */
	int ask_again_ms; /* how long a question is asked again when the connection ended before any answer */
	int is_step; /* stdin, terminal and signals belong to the session; else signals end this process */
	int runs_relayed; /* sessions with bit 63 are commands to run here */
	int unreachable_status;
	const char *peer; /* who is called, for messages */
};

struct client_end {
	int status, signal; /* signal 0: exit with status; else die by it */
};

/* Returns when the call is over; messages about it went to stderr and the terminal is as it was. All signals are left blocked. */
void client_run(const struct client_options *options, struct client_end *end);
/* Does as the other side's process did. */
_Noreturn void client_leave(const struct client_end *end);

#endif
