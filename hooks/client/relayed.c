#define _GNU_SOURCE
#include "relayed.h"

#include <string.h>

#include "clock_ms.h"

/* As many as caddisd lets one machine have (MOST_RELAYS in relays.ts). */
#define RELAYED_MOST 512
/* From the scheduler's kill(2) through caddisd, the guest and the stub back to here: milliseconds; seconds when the host is busy. */
#define ECHO_MS 5000

void relayed_init(struct relayed *r, struct channel *channel)
{
	memset(r, 0, sizeof *r);
	r->channel = channel;
	for (int i = 0; i < 65; i++)
		r->host_signal_ms[i] = -ECHO_MS;
}

static int is_echo(const struct relayed *r, const struct frame *f)
{
	return f->type == F_SIGNAL && f->offset > 0 && f->offset < 65 && f->offset != 9 && clock_ms() - r->host_signal_ms[f->offset] < ECHO_MS;
}

void relayed_frame(struct relayed *r, const struct frame *f)
{
	struct process_host host = { .user = r->channel, .send = channel_send, .most = RELAYED_MOST };

	if (is_echo(r, f))
		return;
	/* ATTACH too: after a restart caddisd asks every shim of the job, and one that does not know the session says so. */
	if (!r->processes && (f->type == F_OPEN || f->type == F_ATTACH))
		r->processes = processes_new(&host);
	if (r->processes)
		processes_frame(r->processes, f);
}

void relayed_host_signal(struct relayed *r, int number)
{
	if (number > 0 && number < 65)
		r->host_signal_ms[number] = clock_ms();
}

void relayed_disconnected(struct relayed *r)
{
	if (r->processes)
		processes_detach_all(r->processes);
}

void relayed_watch(struct relayed *r, struct pollset *set)
{
	if (r->processes)
		processes_watch(r->processes, set);
}

int relayed_timeout(const struct relayed *r) { return r->processes ? processes_timeout(r->processes) : -1; }

void relayed_work(struct relayed *r, const struct pollset *set)
{
	if (r->processes)
		processes_work(r->processes, set);
}

void relayed_reap(struct relayed *r)
{
	if (r->processes)
		processes_reap(r->processes);
}

void relayed_free(struct relayed *r)
{
	if (r->processes)
		processes_free(r->processes);
	r->processes = NULL;
}
