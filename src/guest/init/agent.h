/* caddis-init as a whole: the link, the sessions, the relay, the machine around them. One poll(2) loop, no threads. */
#ifndef CADDIS_AGENT_H
#define CADDIS_AGENT_H

#include "document.h"
#include "freeze.h"
#include "lease.h"
#include "link.h"
#include "mark.h"
#include "pause.h"
#include "process.h"
#include "stood.h"
#include "task.h"

struct relay;

/* SETUP and RESIZE share one: the second needs what the first makes. */
enum { TASK_SETUP, TASK_PAUSE, TASK_WAKE, TASKS };

struct agent {
	int guest; /* 1: PID 1 of a machine; 0: --agent DIR on a host, for tests: nothing of the machine is touched */
	struct link link;
	struct processes *processes;
	struct relay *relay; /* NULL until the machine is set up */
	struct assembler documents; /* SETUP, RESIZE and WAKE in parts */
	int signals; /* signalfd: SIGCHLD, SIGIO, SIGTERM */
	int kernel_log; /* /dev/kmsg, -1 where there is none */
	struct task tasks[TASKS];
	struct freezer freezer;
	struct lease lease;
	struct pause pause;
	struct stood stood;
	struct mark mark;
	uint64_t pong; /* offset of the last PING */
	int pong_wanted;
	int64_t pressure_at_ms, pressure_ms; /* due; last */
	uint64_t held_peak_bytes; /* of all sessions, as sampled, or of one process, as the kernel says: what is more */
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

#endif
