/*
 * The process side of sessions (docs/protocol.md): starts programs from OPEN documents, carries their stdio as windowed byte streams, keeps their exit until it was
 * acknowledged. caddis-init uses it for steps, caddis-hook for relayed commands. No threads, never blocks: the owner runs the poll(2) loop.
 *
 *   t = processes_new(&host);
 *   loop: processes_watch(t, &set); poll(set, processes_timeout(t)); processes_work(t, &set);
 *   for each frame of a session from the stdio side: processes_frame(t, &frame);
 *   after SIGCHLD: processes_child(t, pid, status) for what waitpid(2) gave, or processes_reap(t) when the owner has no other children to reap.
 */
#ifndef CADDIS_PROCESS_H
#define CADDIS_PROCESS_H

#include <sys/types.h>

#include "frame.h"
#include "pollset.h"

struct process_host {
	void *user;
	/*
	 * Queues a frame whole and returns 1, or returns 0 because there is no room now (the library keeps what it wanted to say and tries again in the next
	 * processes_work). frame->length counts `payload`; link is for the owner to fill.
	 */
	int (*send)(void *user, const struct frame *frame, const void *payload);
	/* Level as in LOG (0 error .. 3 debug). May be NULL. */
	void (*log)(void *user, int level, const char *text);
	/* A cgroup v2 directory under which each session gets a group of its own `s<ID>`; NULL for none (then a session is its process group). */
	const char *cgroup;
	/* Sessions at a time; an OPEN beyond is answered by EXIT kind 2. */
	size_t most;
};

struct processes;

struct processes *processes_new(const struct process_host *host); /* NULL when out of memory */
/* Any session frame from the stdio side or the router; unknown, malformed or illegal ones are logged and dropped. */
void processes_frame(struct processes *t, const struct frame *f);
/* The way to the stdio sides is gone: stop sending, keep everything (as a DETACH for each session); unfinished OPEN documents are forgotten. */
void processes_detach_all(struct processes *t);
void processes_watch(struct processes *t, struct pollset *set);
/* Milliseconds until processes_work has something to do by itself, -1 for never. */
int processes_timeout(const struct processes *t);
void processes_work(struct processes *t, const struct pollset *set);
/* A child ended; returns 1 if it was the main process of a session. */
int processes_child(struct processes *t, pid_t pid, int status);
/* waitpid(2) for every session's main process. */
void processes_reap(struct processes *t);
/* SIGKILL to every session. */
void processes_kill_all(struct processes *t);
size_t processes_count(const struct processes *t);
/* The out-of-memory killer took `pid` (`name`): the session that it belonged to says so on its stderr. */
void processes_oom(struct processes *t, pid_t pid, const char *name);
/* Says one line on the stderr of every session whose main process runs, unless it has another to say. */
void processes_note(struct processes *t, const char *text);
/* Calls `each` for every session whose main process runs. */
void processes_each(struct processes *t, void (*each)(void *user, uint64_t session, pid_t pid), void *user);
/* Kills everything, without ceremony. */
void processes_free(struct processes *t);

#endif
