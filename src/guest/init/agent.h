/* caddis-init as a whole: the link, the sessions, the relay, the machine around them. One poll(2) loop, no threads. */
#ifndef CADDIS_AGENT_H
#define CADDIS_AGENT_H

#include "document.h"
#include "link.h"
#include "process.h"

struct relay;

struct agent {
	int guest; /* 1: PID 1 of a machine; 0: --agent DIR on a host, for tests: nothing of the machine is touched */
	struct link link;
	struct processes *processes;
	struct relay *relay; /* NULL until the machine is set up */
	struct assembler documents; /* SETUP and RESIZE in parts */
	int signals; /* signalfd: SIGCHLD, SIGIO, SIGTERM */
	int kernel_log; /* /dev/kmsg, -1 where there is none */
	pid_t worker; /* carries out SETUP or RESIZE: it may block where the agent must not */
	int worker_result; /* read end of the worker's pipe */
	uint64_t worker_request;
	struct tlv_writer result; /* what the worker wrote so far, then the SETUP_DONE to be sent */
	size_t result_sent;
	int result_ready, result_failed;
	uint64_t pong; /* offset of the last PING */
	int pong_wanted;
	int64_t pressure_at_ms;
	uint64_t oom_kills;
	int leaving;
};

/* agent.c */
int agent_init(struct agent *a, int guest); /* -1: out of memory or no signalfd */
void agent_run(struct agent *a);
/* Says it to the host (LOG) and to the kernel's log, or stderr in agent mode; at most LOG_BURST a second. */
void agent_log(struct agent *a, int level, const char *text);

/* machine.c: frames for the machine itself */
void machine_frame(struct agent *a, const struct frame *f);
/* Sends what is waiting: SETUP_DONE, PONG, PRESSURE. */
void machine_say(struct agent *a);
/* The worker's pipe has something. */
void machine_worker_said(struct agent *a);

#endif
