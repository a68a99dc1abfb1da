/*
 * What may block (mounts, waiting for devices and memory) is done by a forked child, so that the agent goes on answering. The child builds a SETUP_DONE document.
 */
#ifndef CADDIS_WORKER_H
#define CADDIS_WORKER_H

#include "frame.h"

struct job {
	struct tlv_writer result;
	int64_t since_ms; /* when the current phase began */
	char message[512]; /* why it failed; empty: it did not */
};

/* Notes that the phase `name` is over: a TIMING. */
void job_timing(struct job *j, const char *name);
/* Notes the first failure: `what`: `subject`: strerror(errno). Returns -1. */
int job_failed(struct job *j, const char *what, const char *subject);

/* setup.c: all of SETUP that needs no PID 1; 0, or -1 with the message set. */
int setup_machine(struct job *j, const uint8_t *document, size_t length);
/* resize.c: brings CPUs online, waits for memory and sets the sessions' limit (CPUS, MEMORY, JOB_MEMORY of `document`); 0, or -1 with the message set. */
int resize_machine(struct job *j, const uint8_t *document, size_t length);
/* setup.c: what a machine that was restored must be told (CLOCK_NS, SEED, HOSTS of `document`); 0, or -1 with the message set. */
int wake_machine(struct job *j, const uint8_t *document, size_t length);
/* rootfs.c, by PID 1 itself: mounts image and scratch, makes the overlay the root. 0 also when it is done already. */
int rootfs_switch(struct job *j, const uint8_t *document, size_t length);
/* net.c: loopback; one NIC from the text of a NET value. */
void net_loopback(void);
int net_setup(struct job *j, const char *text);

#endif
