#define _GNU_SOURCE
#include "task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "document.h"
#include "pressure.h"

#define RESULT_MOST (1u << 20)

void task_begin(struct task *t, uint64_t request)
{
	tlv_free(&t->result);
	t->ready = t->failed = 0;
	t->sent = 0;
	t->request = request;
}

void task_answer(struct task *t, int failed, const char *message)
{
	tlv_free(&t->result);
	if (message[0])
		tlv_put_text(&t->result, T_MESSAGE, message);
	pressure_memory(&t->result);
	t->failed = failed;
	t->ready = 1;
}

/* The child: does it, writes one byte (failed or not) and the document, and is gone. */
static _Noreturn void carry_out(int out, struct job *j, int (*work)(struct job *, const uint8_t *, size_t), const uint8_t *what, size_t length)
{
	uint8_t flag = work(j, what, length) != 0;
	size_t done = 0;

	if (j->message[0])
		tlv_put_text(&j->result, T_MESSAGE, j->message);
	pressure_memory(&j->result);
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

void task_start(struct task *t, struct job *j, int (*work)(struct job *, const uint8_t *, size_t), const uint8_t *what, size_t length)
{
	pid_t pid;
	int p[2];

	if (pipe2(p, O_CLOEXEC)) {
		task_answer(t, 1, strerror(errno));
		return;
	}
	pid = fork();
	if (pid == 0)
		carry_out(p[1], j, work, what, length);
	close(p[1]);
	if (pid < 0) {
		close(p[0]);
		task_answer(t, 1, strerror(errno));
		return;
	}
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	t->out = p[0];
}

void task_forget(struct task *t)
{
	if (t->out >= 0)
		close(t->out);
	t->out = -1;
	t->place = POLLSET_NONE;
	task_begin(t, 0);
}

void task_watch(struct task *t, struct pollset *set) { t->place = pollset_add(set, t->out, POLLIN); }

void task_work(struct task *t, const struct pollset *set)
{
	uint8_t block[4096];
	ssize_t n;

	if (t->out < 0 || !pollset_events(set, t->place))
		return;
	t->place = POLLSET_NONE;
	while ((n = read(t->out, block, sizeof block)) > 0) {
		size_t need = t->result.length + (size_t)n;

		if (need > t->result.capacity) {
			uint8_t *data = need > RESULT_MOST ? NULL : realloc(t->result.data, need + 4096);

			if (!data)
				continue;
			t->result.data = data;
			t->result.capacity = need + 4096;
		}
		memcpy(t->result.data + t->result.length, block, (size_t)n);
		t->result.length = need;
	}
	if (n < 0)
		return;
	close(t->out);
	t->out = -1;
	if (t->result.length == 0) {
		task_answer(t, 1, "the process that was to do it died: the machine is too small, or this is a bug");
		return;
	}
	t->failed = t->result.data[0];
	t->result.length--;
	memmove(t->result.data, t->result.data + 1, t->result.length);
	t->ready = 1;
}

int task_say(struct task *t, struct link *l)
{
	while (t->ready) {
		struct frame f = { .type = F_SETUP_DONE, .stream = STREAM_NONE, .session = t->request };
		const uint8_t *part = document_part(t->result.data, t->result.length, t->sent, &f);

		f.flags |= (uint16_t)t->failed;
		if (!link_send(l, &f, part))
			return 0;
		t->sent += f.length;
		if (!(f.flags & FRAME_MORE)) {
			t->ready = 0;
			tlv_free(&t->result);
		}
	}
	return 1;
}
