#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "boot.h"
#include "clock.h"
#include "oom.h"
#include "pressure.h"
#include "relay.h"
#include "thrash.h"
#include "worker.h"

#define PRESSURE_EVERY_MS 1000
#define RESULT_MOST (1u << 20)

static void result_begin(struct agent *a, uint64_t request)
{
	tlv_free(&a->result);
	a->result_ready = a->result_failed = 0;
	a->result_sent = 0;
	a->worker_request = request;
}

static void result_message(struct agent *a, int failed, const char *message)
{
	tlv_free(&a->result);
	if (message[0])
		tlv_put_text(&a->result, T_MESSAGE, message);
	pressure_memory(&a->result);
	a->result_failed = failed;
	a->result_ready = 1;
}

/* The child: does it, writes one byte (failed or not) and the document, and is gone. */
static void work(int out, struct job *j, int type, const uint8_t *document, size_t length)
{
	int failed = type == F_SETUP ? setup_machine(j, document, length) : 0;
	uint8_t flag;
	size_t done = 0;

	if (!failed)
		failed = resize_machine(j, document, length);
	if (j->message[0])
		tlv_put_text(&j->result, T_MESSAGE, j->message);
	pressure_memory(&j->result);
	flag = failed != 0;
	if (write(out, &flag, 1) != 1)
		_exit(1);
	while (done < j->result.length) {
		ssize_t n = write(out, j->result.data + done, j->result.length - done);

		if (n < 0 && errno != EINTR)
			_exit(1);
		done += n > 0 ? (size_t)n : 0;
	}
	_exit(0);
}

static void start_worker(struct agent *a, struct job *j, int type, const uint8_t *document, size_t length)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC)) {
		result_message(a, 1, strerror(errno));
		return;
	}
	a->worker = fork();
	if (a->worker == 0)
		work(p[1], j, type, document, length);
	close(p[1]);
	if (a->worker < 0) {
		close(p[0]);
		a->worker = 0;
		result_message(a, 1, strerror(errno));
		return;
	}
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	a->worker_result = p[0];
}

static void begin(struct agent *a, const struct frame *f, const uint8_t *document, size_t length)
{
	struct job j = { .since_ms = clock_ms() };

	if (a->worker_result >= 0) {
		agent_log(a, 1, "SETUP or RESIZE while an earlier one is at work: dropped");
		return;
	}
	result_begin(a, f->session);
	if (!a->guest) {
		result_message(a, 0, "");
		return;
	}
	if (f->type == F_SETUP && rootfs_switch(&j, document, length)) {
		result_message(a, 1, j.message);
		tlv_free(&j.result);
		return;
	}
	if (f->type == F_SETUP && !a->relay && !(a->relay = relay_new(&a->link, RELAY_SOCKET)))
		agent_log(a, 0, "cannot listen on " RELAY_SOCKET ": commands of the scheduler will not work in this job");
	start_worker(a, &j, f->type, document, length);
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

void machine_frame(struct agent *a, const struct frame *f)
{
	switch (f->type) {
	case F_SETUP:
	case F_RESIZE: on_document(a, f); break;
	case F_PING:
		a->pong = f->offset;
		a->pong_wanted = 1;
		break;
	case F_CLOCK:
		if (a->guest && clock_set(f->offset))
			agent_log(a, 1, "the clock could not be set");
		break;
	case F_POWEROFF: power_off(a); break;
	default: agent_log(a, 1, "an unknown frame for the machine: dropped");
	}
}

void machine_worker_said(struct agent *a)
{
	uint8_t block[4096];
	ssize_t n;

	while ((n = read(a->worker_result, block, sizeof block)) > 0) {
		size_t need = a->result.length + (size_t)n;

		if (need > a->result.capacity) {
			uint8_t *data = need > RESULT_MOST ? NULL : realloc(a->result.data, need + 4096);

			if (!data)
				continue;
			a->result.data = data;
			a->result.capacity = need + 4096;
		}
		memcpy(a->result.data + a->result.length, block, (size_t)n);
		a->result.length = need;
	}
	if (n < 0)
		return;
	close(a->worker_result);
	a->worker_result = -1;
	if (a->result.length == 0) {
		result_message(a, 1, "the set-up process died: the machine is too small, or this is a bug");
		return;
	}
	a->result_failed = a->result.data[0];
	a->result.length--;
	memmove(a->result.data, a->result.data + 1, a->result.length);
	a->result_ready = 1;
}

static void say_result(struct agent *a)
{
	while (a->result_ready) {
		struct frame f = { .type = F_SETUP_DONE, .stream = STREAM_NONE, .session = a->worker_request };
		const uint8_t *part = document_part(a->result.data, a->result.length, a->result_sent, &f);

		f.flags |= (uint16_t)a->result_failed;
		if (!link_send(&a->link, &f, part))
			return;
		a->result_sent += f.length;
		if (!(f.flags & FRAME_MORE)) {
			a->result_ready = 0;
			tlv_free(&a->result);
		}
	}
}

static void say_pressure(struct agent *a)
{
	struct frame f = { .type = F_PRESSURE, .stream = STREAM_NONE };
	struct tlv_writer w = { 0 };
	int64_t now = clock_ms();

	if (now < a->pressure_at_ms)
		return;
	a->pressure_at_ms = now + PRESSURE_EVERY_MS;
	if (a->guest)
		thrash_end(SESSIONS_GROUP);
	if (!a->link.up)
		return;
	pressure_document(&w, a->processes, a->oom_kills);
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
	say_result(a);
	say_pressure(a);
}
