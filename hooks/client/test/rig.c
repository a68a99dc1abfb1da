#define _GNU_SOURCE
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock_ms.h"

#define EXPECT_MS 10000

void rig_make(struct rig *r)
{
	char path[128];

	memset(r, 0, sizeof *r);
	r->in = r->out = r->err = r->listener = -1;
	r->session = RIG_SESSION;
	snprintf(r->dir, sizeof r->dir, "/tmp/caddis-hook-test-XXXXXX");
	if (!mkdtemp(r->dir) || channel_init(&r->channel))
		abort();
	snprintf(path, sizeof path, "%s/jobs", r->dir);
	mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/jobs/slurm-1", r->dir);
	mkdir(path, 0755);
	snprintf(r->socket, sizeof r->socket, "%s/jobs/slurm-1/step.sock", r->dir);
	snprintf(path, sizeof path, "%s/hook.sock", r->dir);
	if (symlink("jobs/slurm-1/step.sock", path))
		abort();
}

void rig_listen(struct rig *r)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	strcpy(a.sun_path, r->socket);
	unlink(r->socket);
	r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(r->listener, (struct sockaddr *)&a, sizeof a) || listen(r->listener, 8))
		abort();
}

static void pipe_for(int fd, const int fds[3], int child[3], int *ours)
{
	int p[2];

	child[fd] = fds ? fds[fd] : -1;
	if (child[fd] >= 0)
		return;
	if (pipe2(p, O_CLOEXEC))
		abort();
	child[fd] = p[fd ? 1 : 0];
	*ours = p[fd ? 0 : 1];
	fcntl(*ours, F_SETFL, O_NONBLOCK);
}

void rig_start(struct rig *r, const char *program, char *const argv[], char *const env[], const int fds[3])
{
	int child[3], tty;

	pipe_for(0, fds, child, &r->in);
	pipe_for(1, fds, child, &r->out);
	pipe_for(2, fds, child, &r->err);
	tty = isatty(child[0]);
	r->pid = fork();
	if (r->pid == 0) {
		if (tty)
			setsid();
		else
			setpgid(0, 0);
		for (int i = 0; i < 3; i++)
			child[i] = fcntl(child[i], F_DUPFD, 10);
		for (int i = 0; i < 3; i++)
			dup2(child[i], i);
		for (int i = 0; i < 3; i++)
			close(child[i]);
		if (tty)
			ioctl(0, TIOCSCTTY, 0);
		for (; env && *env; env++)
			putenv(*env);
		execv(program, argv);
		_exit(99);
	}
	for (int i = 0; i < 3; i++)
		if (!fds || fds[i] < 0)
			close(child[i]);
}

void rig_exec(struct rig *r, char *const words[])
{
	char *argv[16] = { "caddis-hook", "--run", r->dir, "exec" }, *env[] = { "CADDIS_KEY=slurm-1", NULL };

	for (int i = 0; words[i] && i < 11; i++)
		argv[4 + i] = words[i];
	rig_start(r, hook_path, argv, env, NULL);
}

static int from_processes(void *user, const struct frame *f, const void *payload)
{
	struct rig *r = user;

	if (r->breaks_left && r->passed >= r->break_at)
		return 0;
	if (!channel_send(&r->channel, f, payload))
		return 0;
	r->passed += f->length;
	return 1;
}

void rig_break(struct rig *r)
{
	channel_close(&r->channel);
	assembler_reset(&r->documents);
	if (r->processes)
		processes_detach_all(r->processes);
}

static int take_open(struct rig *r, const struct frame *f)
{
	const uint8_t *document;
	size_t length;

	if (assembler_take(&r->documents, f, &document, &length) != 1)
		return 0;
	free(r->open);
	r->open = malloc(length);
	memcpy(r->open, document, length);
	r->open_length = length;
	r->opens++;
	return 1;
}

/* As the daemon: a step is found on PATH, and a session that is there is answered OPENED. */
static void run_open(struct rig *r)
{
	struct tlv_writer w = { 0 };
	struct tlv_reader in = { r->open, r->open + r->open_length };
	struct frame f = { .type = F_OPEN, .stream = STREAM_NONE, .session = r->session };
	struct process_host host = { .user = r, .send = from_processes, .most = 8 };
	const uint8_t *v;
	uint32_t n;
	uint16_t tag;

	if (r->processes) {
		rig_say(r, F_OPENED, STREAM_NONE, 0, 0, NULL, 0);
		return;
	}
	r->processes = processes_new(&host);
	tlv_put(&w, T_PATH_SEARCH, NULL, 0);
	while (tlv_next(&in, &tag, &v, &n) == 1)
		if (tag != T_PID && tag != T_CPU)
			tlv_put(&w, tag, v, n);
	f.payload = w.data;
	f.length = (uint32_t)w.length;
	processes_frame(r->processes, &f);
	tlv_free(&w);
}

static void on_frame(struct rig *r, const struct frame *f)
{
	if (f->type == F_OPEN && f->session == 0) {
		if (take_open(r, f) && r->real)
			run_open(r);
		r->last = *f;
		return;
	}
	if (r->real && r->processes) {
		r->passed += f->length;
		processes_frame(r->processes, f);
		return;
	}
	r->last = *f;
	if (f->length)
		memcpy(r->payload, f->payload, f->length);
}

static void read_output(struct rig *r, int which, int *fd)
{
	static uint8_t buffer[65536];
	ssize_t n = read(*fd, buffer, sizeof buffer);

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		close(*fd);
		*fd = -1;
	} else if (n > 0 && which == 0 && r->sink) {
		r->sink(r, buffer, (size_t)n);
	} else if (n > 0) {
		size_t room = sizeof r->text[0] - 1 - r->length[which];

		memcpy(r->text[which] + r->length[which], buffer, (size_t)n < room ? (size_t)n : room);
		r->length[which] += (size_t)n < room ? (size_t)n : room;
	}
}

static void reap(struct rig *r)
{
	int status;

	if (r->processes)
		processes_reap(r->processes);
	if (r->pid > 0 && waitpid(r->pid, &status, WNOHANG) == r->pid) {
		r->pid = 0;
		r->status = status;
	}
}

static void serve(struct rig *r, const struct pollset *set)
{
	struct frame f;
	int gone = channel_work(&r->channel, set);

	while (channel_next(&r->channel, &f) == 1) {
		on_frame(r, &f);
		if (!r->real && r->last.type)
			break;
	}
	/* What it said last is taken first, one frame a turn. */
	if (gone && (r->real || !r->last.type))
		rig_break(r);
	if (r->breaks_left && r->passed >= r->break_at && r->channel.fd >= 0) {
		r->breaks_left--;
		r->break_at = r->passed + 1 + any() % r->break_every;
		rig_break(r);
	}
}

void rig_turn(struct rig *r, int ms)
{
	static struct pollset set;
	size_t listen_at, out_at, err_at;
	struct frame f;

	/* By hand frames are taken one at a time: first those that are here. */
	r->last.type = 0;
	if (!r->real && r->channel.fd >= 0 && channel_next(&r->channel, &f) == 1) {
		on_frame(r, &f);
		return;
	}
	set.count = 0;
	listen_at = pollset_add(&set, r->channel.fd < 0 ? r->listener : -1, POLLIN);
	out_at = pollset_add(&set, r->slow[0] ? -1 : r->out, POLLIN);
	err_at = pollset_add(&set, r->slow[1] ? -1 : r->err, POLLIN);
	channel_watch(&r->channel, &set);
	if (r->processes)
		processes_watch(r->processes, &set);
	if (poll(set.fds, set.count, ms < 20 ? ms : 20) < 0)
		abort();
	if (pollset_events(&set, listen_at)) {
		r->channel.fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		parser_reset(&r->channel.parser);
	} else if (r->channel.fd >= 0) {
		serve(r, &set);
	}
	if (pollset_events(&set, out_at))
		read_output(r, 0, &r->out);
	if (pollset_events(&set, err_at))
		read_output(r, 1, &r->err);
	if (r->processes)
		processes_work(r->processes, &set);
	reap(r);
}

int rig_expect(struct rig *r, uint8_t type)
{
	int64_t deadline = clock_ms() + EXPECT_MS;

	while (clock_ms() < deadline) {
		rig_turn(r, 20);
		if (r->last.type == type)
			return 1;
	}
	fprintf(stderr, "  (no frame of type %u came; client %s; stderr: %.*s)\n", type, r->pid ? "runs" : "ended", (int)r->length[1], r->text[1]);
	return 0;
}

int rig_open(struct rig *r)
{
	int before = r->opens;
	int64_t deadline = clock_ms() + EXPECT_MS;

	while (r->opens == before && clock_ms() < deadline)
		rig_turn(r, 20);
	return r->opens > before;
}

void rig_say_as(struct rig *r, uint64_t session, uint8_t type, uint8_t stream, uint16_t flags, uint64_t offset, const void *payload, size_t length)
{
	struct frame f = { .type = type, .stream = stream, .flags = flags, .session = session, .offset = offset, .length = (uint32_t)length };

	channel_send(&r->channel, &f, payload);
}

void rig_say(struct rig *r, uint8_t type, uint8_t stream, uint16_t flags, uint64_t offset, const void *payload, size_t length)
{
	rig_say_as(r, r->session, type, stream, flags, offset, payload, length);
}

void rig_exit(struct rig *r, uint32_t kind, uint32_t value, uint16_t flags, uint64_t out, uint64_t err, const char *message)
{
	uint8_t b[24 + 400];
	size_t n = strlen(message);

	put32(b, kind);
	put32(b + 4, value);
	put64(b + 8, out);
	put64(b + 16, err);
	memcpy(b + 24, message, n);
	rig_say(r, F_EXIT, STREAM_NONE, flags, 0, b, 24 + n);
}

void rig_attached(struct rig *r, uint64_t in, uint64_t out, uint64_t err)
{
	uint8_t b[52] = { 0 };
	uint64_t p[3] = { in, out, err };

	for (int i = 0; i < 3; i++) {
		put64(b + 16 * i, p[i]);
		put64(b + 16 * i + 8, p[i]);
	}
	rig_say(r, F_ATTACHED, STREAM_NONE, 1, 0, b, sizeof b);
}

int rig_wait(struct rig *r, int ms)
{
	int64_t deadline = clock_ms() + ms, drain;

	while (r->pid > 0 && clock_ms() < deadline)
		rig_turn(r, 20);
	if (r->pid > 0) {
		fprintf(stderr, "  (the client did not end within %d ms)\n", ms);
		kill(r->pid, SIGKILL);
		waitpid(r->pid, &r->status, 0);
		r->pid = 0;
		return 0;
	}
	drain = clock_ms() + 5000;
	while (((r->out >= 0 && !r->slow[0]) || (r->err >= 0 && !r->slow[1])) && clock_ms() < drain)
		rig_turn(r, 20);
	return 1;
}

int rig_reads(struct rig *r, int which, const char *text)
{
	int64_t deadline = clock_ms() + EXPECT_MS;

	while (clock_ms() < deadline) {
		if (memmem(r->text[which], r->length[which], text, strlen(text)))
			return 1;
		rig_turn(r, 20);
	}
	fprintf(stderr, "  (expected \"%s\", got \"%.*s\")\n", text, (int)r->length[which], r->text[which]);
	return 0;
}

void rig_end(struct rig *r)
{
	char command[128];

	if (r->pid > 0) {
		kill(r->pid, SIGKILL);
		waitpid(r->pid, NULL, 0);
	}
	channel_close(&r->channel);
	parser_free(&r->channel.parser);
	assembler_reset(&r->documents);
	if (r->processes)
		processes_free(r->processes);
	free(r->open);
	for (int i = 0; i < 4; i++) {
		int fd = (int[]){ r->listener, r->in, r->out, r->err }[i];

		if (fd >= 0)
			close(fd);
	}
	snprintf(command, sizeof command, "rm -rf '%s'", r->dir);
	if (system(command))
		abort();
}

size_t rig_tags(const struct rig *r, uint16_t wanted, const uint8_t **first, uint32_t *length)
{
	struct tlv_reader in = { r->open, r->open + r->open_length };
	const uint8_t *v;
	size_t count = 0;
	uint32_t n;
	uint16_t tag;

	while (tlv_next(&in, &tag, &v, &n) == 1)
		if (tag == wanted && count++ == 0 && first) {
			*first = v;
			*length = n;
		}
	return count;
}

int exited(const struct rig *r, int code)
{
	if (WIFEXITED(r->status) && WEXITSTATUS(r->status) == code)
		return 1;
	fprintf(stderr, "  (status %x, expected exit code %d; stderr: %.*s)\n", (unsigned)r->status, code, (int)r->length[1], r->text[1]);
	return 0;
}

int signalled(const struct rig *r, int number)
{
	if (WIFSIGNALED(r->status) && WTERMSIG(r->status) == number && !WCOREDUMP(r->status))
		return 1;
	fprintf(stderr, "  (status %x, expected death by %d without a core)\n", (unsigned)r->status, number);
	return 0;
}
