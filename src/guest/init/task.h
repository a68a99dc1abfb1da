/*
 * One request of the host that may block where the agent must not (mounts, waiting for devices, syncing): a forked child carries it out (worker.h), the agent goes on and
 * answers with its SETUP_DONE. Each kind of request has a task of its own: one that hangs keeps no other from its answer.
 */
#ifndef CADDIS_TASK_H
#define CADDIS_TASK_H

#include "link.h"
#include "worker.h"

struct task {
	int out; /* read end of its pipe; -1: nothing is at work */
	size_t place;
	uint64_t request;
	struct tlv_writer result; /* what the child wrote so far, then the SETUP_DONE to be sent */
	size_t sent;
	int ready, failed;
};

/* Begins `request`: an earlier one's result is forgotten. */
void task_begin(struct task *t, uint64_t request);
/* Has `work` done by a child: it returns 0, or -1 with the message set. If there cannot be a child, that is the answer. */
void task_start(struct task *t, struct job *j, int (*work)(struct job *j, const uint8_t *what, size_t length), const uint8_t *what, size_t length);
/* The answer, without a child. */
void task_answer(struct task *t, int failed, const char *message);
/* Nobody wants its answer any more; the child ends by itself. */
void task_forget(struct task *t);
void task_watch(struct task *t, struct pollset *set);
/* Takes what the child has written. */
void task_work(struct task *t, const struct pollset *set);
/* Sends the answer as far as there is room: 1 when nothing is left to be sent. */
int task_say(struct task *t, struct link *l);

#endif
