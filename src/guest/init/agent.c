#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot.h"
#include "clock.h"
#include "oom.h"
#include "relay.h"

/* Sessions at a time: a node has hundreds of cores at most, each with a task. */
#define SESSIONS_GUEST 2048
/* A turn of the loop at least this often: pressure, and a port whose SIGIO was missed. */
#define TURN_MS 1000
#define LOG_BURST 20
/* What a step used is reported before its end is, but for steps that end in quick succession. */
#define END_REPORT_MS 100

#define GUEST_OPENED (1ull << 63)

static int within_burst(void)
{
	static int64_t second;
	static int count;
	int64_t now = clock_ms() / 1000;

	if (now != second) {
		second = now;
		count = 0;
	}
	return ++count <= LOG_BURST;
}

void agent_log(struct agent *a, int level, const char *text)
{
	size_t n = strlen(text);
	struct frame f = { .type = F_LOG, .stream = STREAM_NONE, .flags = (uint16_t)level, .length = (uint32_t)n };

	if (!within_burst())
		return;
	link_send(&a->link, &f, text);
	if (a->guest)
		kernel_log_write(level, text);
	else if (level == 0)
		fprintf(stderr, "caddis-init: %s\n", text);
}

static int send_for_processes(void *user, const struct frame *f, const void *payload)
{
	return link_send(&((struct agent *)user)->link, f, payload);
}

static void log_for_processes(void *user, int level, const char *text) { agent_log(user, level, text); }

static void on_frame(void *user, int port, const struct frame *f)
{
	struct agent *a = user;
	int bulk = f->type == F_DATA || f->type == F_EOF;

	if (bulk != (port == PORT_BULK)) {
		agent_log(a, 1, "a frame came on the wrong port: dropped");
		return;
	}
	if (f->type < F_OPEN)
		machine_frame(a, f);
	else if (!a->link.up)
		return; /* the other port is still of an older generation */
	else if (f->session & GUEST_OPENED)
		relay_frame(a->relay, f);
	else
		processes_frame(a->processes, f);
}

static void on_up(void *user)
{
	struct agent *a = user;

	for (size_t i = 0; i < TASKS; i++)
		a->tasks[i].sent = 0;
	a->pressure_at_ms = 0;
	relay_up(a->relay);
}

static void on_down(void *user)
{
	struct agent *a = user;

	assembler_reset(&a->documents);
	processes_detach_all(a->processes);
}

static const char *job_group(int guest)
{
#ifdef CADDIS_TEST
	if (!guest)
		return getenv("CADDIS_TEST_GROUP");
#endif
	return guest ? SESSIONS_GROUP : NULL;
}

int agent_init(struct agent *a, int guest)
{
	struct link_events events = { a, on_frame, on_up, on_down };
	struct process_host host = { a, send_for_processes, log_for_processes, job_group(guest), SESSIONS_GUEST };
	sigset_t set;

	memset(a, 0, sizeof *a);
	a->guest = guest;
	a->freezer.group = job_group(guest);
	a->kernel_log = -1;
	stood_init(&a->stood);
	mark_open(&a->mark, guest ? SESSIONS_GROUP : NULL);
	for (size_t i = 0; i < TASKS; i++)
		a->tasks[i].out = -1;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGIO);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	a->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	a->processes = processes_new(&host);
	return a->signals < 0 || !a->processes || link_init(&a->link, &events) ? -1 : 0;
}

static void reap(struct agent *a)
{
	int status, ended = 0;
	struct rusage usage;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
		if (!processes_child(a->processes, pid, status))
			continue;
		ended = 1;
		/* In KiB, of the largest of it and all that it has waited for: a peak between two samples. */
		if ((uint64_t)usage.ru_maxrss * 1024 > a->held_peak_bytes)
			a->held_peak_bytes = (uint64_t)usage.ru_maxrss * 1024;
	}
	if (!ended)
		return;
	a->pressure_at_ms = a->pressure_ms + END_REPORT_MS;
	machine_say(a);
}

static void on_signals(struct agent *a)
{
	struct signalfd_siginfo info;

	while (read(a->signals, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGCHLD)
			reap(a);
		else if (info.ssi_signo == SIGIO)
			link_probe(&a->link);
		else if (!a->guest)
			a->leaving = 1;
	}
}

static void on_oom(void *user, pid_t pid, const char *name)
{
	struct agent *a = user;

	a->oom_kills++;
	processes_oom(a->processes, pid, name);
}

static int timeout(const struct agent *a)
{
	int waits[] = { processes_timeout(a->processes), lease_timeout(a), pause_timeout(a), stood_timeout(a), mark_timeout(&a->mark) }, t = TURN_MS;

	for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
		t = waits[i] >= 0 && waits[i] < t ? waits[i] : t;
	/* A report that is due before its second. */
	if (a->link.up && a->pressure_at_ms - clock_ms() < t)
		t = a->pressure_at_ms > clock_ms() ? (int)(a->pressure_at_ms - clock_ms()) : 0;
	return t;
}

void agent_run(struct agent *a)
{
	struct pollset set = { 0 };

	while (!a->leaving) {
		size_t signals, log;

		set.count = 0;
		signals = pollset_add(&set, a->signals, POLLIN);
		log = pollset_add(&set, a->kernel_log, POLLIN);
		mark_watch(&a->mark, &set);
		for (size_t i = 0; i < TASKS; i++)
			task_watch(&a->tasks[i], &set);
		stood_watch(a, &set);
		link_watch(&a->link, &set);
		processes_watch(a->processes, &set);
		relay_watch(a->relay, &set);
		if (poll(set.fds, set.count, timeout(a)) < 0 && errno != EINTR)
			return;
		/* The kernel's line about a kill is read before the death that it explains. */
		if (pollset_events(&set, log))
			kernel_log_read(a->kernel_log, on_oom, a);
		if (pollset_events(&set, signals))
			on_signals(a);
		mark_work(a, &set);
		for (size_t i = 0; i < TASKS; i++)
			task_work(&a->tasks[i], &set);
		link_probe(&a->link);
		link_work(&a->link, &set);
		relay_work(a->relay, &set);
		processes_work(a->processes, &set);
		lease_work(a);
		pause_work(a);
		stood_work(a, &set);
		machine_say(a);
		link_flush(&a->link);
	}
	processes_kill_all(a->processes);
	pollset_free(&set);
}
