#define _GNU_SOURCE
#include "agent.h"

#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "boot.h"
#include "clock.h"
#include "oom.h"
#include "pressure.h"
#include "relay.h"
#include "thrash.h"

#define PRESSURE_EVERY_MS 1000

/* In the child. */
static int set_up(struct job *j, const uint8_t *document, size_t length)
{
	return setup_machine(j, document, length) || resize_machine(j, document, length) ? -1 : 0;
}

/* What PID 1 does itself; 0, or -1 with the answer given. */
static int prepare(struct agent *a, struct task *t, struct job *j, const uint8_t *document, size_t length)
{
	if (rootfs_switch(j, document, length)) {
		task_answer(t, 1, j->message);
		return -1;
	}
	if (!a->relay && !(a->relay = relay_new(&a->link, RELAY_SOCKET)))
		agent_log(a, 0, "cannot listen on " RELAY_SOCKET ": commands of the scheduler will not work in this job");
	return 0;
}

static void begin(struct agent *a, const struct frame *f, const uint8_t *document, size_t length)
{
	struct task *t = &a->tasks[f->type == F_WAKE ? TASK_WAKE : TASK_SETUP];
	struct job j = { .since_ms = clock_ms() };

	if (t->out >= 0) {
		agent_log(a, 1, f->type == F_WAKE ? "WAKE while an earlier one is at work: dropped" : "SETUP or RESIZE while an earlier one is at work: dropped");
		return;
	}
	task_begin(t, f->session);
	if (!a->guest)
		task_answer(t, 0, "");
	else if (f->type != F_SETUP || !prepare(a, t, &j, document, length))
		task_start(t, &j, f->type == F_SETUP ? set_up : f->type == F_RESIZE ? resize_machine : wake_machine, document, length);
	tlv_free(&j.result);
}

static void on_document(struct agent *a, const struct frame *f)
{
	const uint8_t *document;
	size_t length;
	int whole = assembler_take(&a->documents, f, &document, &length);

	if (whole < 0)
		agent_log(a, 1, "a document's parts do not fit: dropped");
	if (whole == 1)
		begin(a, f, document, length);
}

static void power_off(struct agent *a)
{
	if (!a->guest) {
		a->leaving = 1;
		return;
	}
	processes_kill_all(a->processes);
	sync();
	reboot(RB_POWER_OFF);
}

/* One line of printable text, from the host to the users of this job. */
static void note(struct agent *a, const struct frame *f)
{
	char text[256];
	size_t n = f->length < sizeof text - 1 ? f->length : sizeof text - 1;

	memcpy(text, f->payload, n);
	text[n] = 0;
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	processes_note(a->processes, text);
}

void machine_frame(struct agent *a, const struct frame *f)
{
	switch (f->type) {
	case F_SETUP:
	case F_RESIZE:
	case F_WAKE: on_document(a, f); break;
	case F_LEASE: lease_grant(a, f->offset); break;
	case F_PAUSE: pause_frame(a, f); break;
	case F_PING:
		a->pong = f->offset;
		a->pong_wanted = 1;
		break;
	case F_CLOCK:
		stood_clock(a, f->offset);
		if (a->guest && clock_set(f->offset))
			agent_log(a, 1, "the clock could not be set");
		break;
	case F_NOTE: note(a, f); break;
	case F_POWEROFF: power_off(a); break;
	default: agent_log(a, 1, "an unknown frame for the machine: dropped");
	}
}

static void say_results(struct agent *a)
{
	/* One after the other: the host puts one document together at a time. */
	for (size_t i = 0; i < TASKS; i++)
		if (!task_say(&a->tasks[i], &a->link))
			return;
}

static void say_pressure(struct agent *a)
{
	struct frame f = { .type = F_PRESSURE, .stream = STREAM_NONE };
	struct tlv_writer w = { 0 };
	int64_t now = clock_ms();

	if (now < a->pressure_at_ms)
		return;
	a->pressure_at_ms = now + PRESSURE_EVERY_MS;
	a->pressure_ms = now;
	/* Nothing of a frozen job stalls: what the averages still say was before. */
	if (a->guest && !a->freezer.reasons)
		thrash_end(SESSIONS_GROUP);
	mark_look(a);
	if (!a->link.up)
		return;
	pressure_document(&w, a->processes, a->oom_kills, a->freezer.reasons, &a->held_peak_bytes);
	mark_report(&a->mark, &w);
	f.length = (uint32_t)w.length;
	/* Thousands of sessions would not fit one frame: then this second has no report. No room: the next second brings a fresher one. */
	if (w.length <= FRAME_PAYLOAD_MAX && !w.failed)
		link_send(&a->link, &f, w.data);
	tlv_free(&w);
}

void machine_say(struct agent *a)
{
	struct frame pong = { .type = F_PONG, .stream = STREAM_NONE, .offset = a->pong };

	if (a->pong_wanted && link_send(&a->link, &pong, NULL))
		a->pong_wanted = 0;
	say_results(a);
	say_pressure(a);
}
