#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "describe.h"
#include "document.h"
#include "stdio-side.h"

/* Frames wait here while the socket is full; small frames always find room, data waits its turn. */
#define QUEUE_BYTES (256u << 10)
#define QUEUE_RESERVE (16u << 10)
#define RETRY_MS 100

struct run {
	const struct shim *shim;
	struct stdio stdio;
	struct parser parser;
	struct tlv_writer document; /* the OPEN that is being sent */
	size_t document_sent;
	int sock, signals;
	size_t sock_place, signal_place;
	uint8_t queue[QUEUE_BYTES];
	size_t queue_start, queue_end;
	int opened; /* OPENED came on this connection */
	int tty, tty_changed;
	struct termios saved;
	void *relay;
	int broken;
	uint64_t read_bytes;
};

static double now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void complain(const char *text)
{
	/* One write, so that lines of several tasks do not mix. */
	char line[4300];
	int n = snprintf(line, sizeof line, "%s%s", text, *text && text[strlen(text) - 1] == '\n' ? "" : "\n");

	if (n > 0 && write(STDERR_FILENO, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1) < 0)
		return;
}

/* ---- the connection ---- */

static int enqueue(struct run *r, const struct frame *f, const void *payload, size_t reserve)
{
	size_t need = FRAME_HEADER + f->length + FRAME_TRAILER_BYTES;

	if (r->queue_start && QUEUE_BYTES - r->queue_end < need + reserve) {
		memmove(r->queue, r->queue + r->queue_start, r->queue_end - r->queue_start);
		r->queue_end -= r->queue_start;
		r->queue_start = 0;
	}
	if (QUEUE_BYTES - r->queue_end < need + reserve)
		return 0;
	frame_header(r->queue + r->queue_end, f);
	if (f->length)
		memcpy(r->queue + r->queue_end + FRAME_HEADER, payload, f->length);
	frame_trailer(r->queue + r->queue_end + FRAME_HEADER + f->length, 0);
	r->queue_end += need;
	return 1;
}

static int send_frame(void *user, const struct frame *f, const void *payload)
{
	struct run *r = user;
	struct frame plain = *f;

	if (r->sock < 0 || !r->opened)
		return 0;
	plain.link = 0;
	return enqueue(r, &plain, payload, f->type == F_DATA ? QUEUE_RESERVE : 0);
}

static void send_small(struct run *r, uint8_t type, uint64_t offset, uint16_t flags, const void *payload, uint32_t length)
{
	struct frame f = { .type = type, .stream = STREAM_NONE, .flags = flags, .session = r->stdio.session, .offset = offset, .length = length };

	send_frame(r, &f, payload);
}

static int connect_once(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* Tries until `seconds` are over. Signals stay pending meanwhile; KILL works as ever. */
static int connect_within(const char *path, double seconds)
{
	double end = now_seconds() + seconds;

	for (;;) {
		int fd = connect_once(path);

		if (fd >= 0)
			return fd;
		if (now_seconds() >= end || errno == EACCES || errno == ENAMETOOLONG)
			return -1;
		nanosleep(&(struct timespec){ 0, RETRY_MS * 1000000L }, NULL);
	}
}

/* Begins an OPEN on a new connection. */
static int begin(struct run *r, int fd)
{
	const struct shim *s = r->shim;

	r->sock = fd;
	r->opened = 0;
	r->queue_start = r->queue_end = 0;
	parser_reset(&r->parser);
	tlv_free(&r->document);
	describe_process(&r->document, s->verb, s->argv, s->env, r->stdio.session, r->tty);
	r->document_sent = 0;
	if (r->document.failed) {
		complain("caddis: arguments and environment are above 8 MiB, more than can be carried");
		return -1;
	}
	return 0;
}

/* Parts of the OPEN go out as there is room: it may be far larger than the queue. */
static void push_document(struct run *r)
{
	while (r->document.data && !r->opened) {
		struct frame f = { .type = F_OPEN, .stream = STREAM_NONE };
		const uint8_t *part = document_part(r->document.data, r->document.length, r->document_sent, &f);

		if (!enqueue(r, &f, part, 0))
			return;
		r->document_sent += f.length;
		if (!(f.flags & FRAME_MORE))
			tlv_free(&r->document);
	}
}

static void flush(struct run *r)
{
	while (r->queue_start < r->queue_end) {
		ssize_t n = send(r->sock, r->queue + r->queue_start, r->queue_end - r->queue_start, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			r->broken = 1;
			return;
		}
		r->queue_start += (size_t)n;
		if (r->queue_start == r->queue_end)
			r->queue_start = r->queue_end = 0;
		push_document(r);
	}
}

static void attach(struct run *r)
{
	uint8_t payload[24];
	struct frame f;

	stdio_attach(&r->stdio, &f, payload);
	send_frame(r, &f, payload);
}

/* 0 go on, otherwise the exit status with which to end at once. */
static int take_frame(struct run *r, const struct frame *f)
{
	int result;

	if (f->session >> 63) {
		if (!r->relay && r->shim->relay)
			r->relay = r->shim->relay->start(send_frame, r);
		if (r->relay)
			r->shim->relay->frame(r->relay, f);
		return 0;
	}
	if (f->type == F_OPENED) {
		int again = r->stdio.session != 0;

		r->opened = 1;
		if (!again)
			stdio_opened(&r->stdio, f->session);
		else if (f->session != r->stdio.session)
			return SHIM_PROTOCOL;
		else
			attach(r);
		return 0;
	}
	if (f->type == F_LOST) {
		if (f->flags & 1) {
			char text[4097];
			size_t n = f->length < sizeof text ? f->length : sizeof text - 1;

			memcpy(text, f->payload, n);
			text[n] = 0;
			complain(n ? text : "caddis: the job's machine is gone");
			return SHIM_LOST;
		}
		stdio_detached(&r->stdio);
		attach(r);
		return 0;
	}
	if (f->session != r->stdio.session && r->stdio.session)
		return 0;
	if (f->type == F_EXIT && !r->opened)
		r->opened = 1; /* could not start: there was no OPENED */
	if (!r->stdio.session)
		r->stdio.session = f->session;
	result = stdio_frame(&r->stdio, f);
	if (result == -2) {
		complain("caddis: the job's machine does not know this step any more");
		return SHIM_LOST;
	}
	return result < 0 ? SHIM_PROTOCOL : 0;
}

static int read_socket(struct run *r)
{
	for (int turns = 0; turns < 4; turns++) {
		struct frame f;
		size_t room;
		uint8_t *space = parser_space(&r->parser, &room);
		ssize_t n = recv(r->sock, space, room, MSG_DONTWAIT);
		int got;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0) {
			r->broken = 1;
			return 0;
		}
		r->read_bytes += (uint64_t)n;
		parser_fed(&r->parser, (size_t)n);
		while ((got = parser_next(&r->parser, &f)) == 1) {
			int status = take_frame(r, &f);

			if (status)
				return status;
		}
		if (got < 0)
			return SHIM_PROTOCOL;
	}
	return 0;
}

/* ---- terminal and signals ---- */

static void raw_terminal(struct run *r)
{
	struct termios raw;

	if (!r->tty || tcgetattr(STDIN_FILENO, &r->saved) < 0)
		return;
	raw = r->saved;
	cfmakeraw(&raw);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0)
		r->tty_changed = 1;
}

static void restore_terminal(struct run *r)
{
	if (r->tty_changed)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &r->saved);
	r->tty_changed = 0;
}

/* Everything that can be caught is carried to the job; faults of our own stay ours. */
static void block_signals(sigset_t *old)
{
	sigset_t all;
	const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS };

	sigfillset(&all);
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		sigdelset(&all, faults[i]);
	sigprocmask(SIG_BLOCK, &all, old);
	/* A blocked signal that is ignored is thrown away, and a parent may have left any of them ignored: the job's own dispositions come with its OPEN. */
	for (int s = 1; s < NSIG; s++)
		if (s != SIGKILL && s != SIGSTOP && sigismember(&all, s) == 1 && s != SIGPIPE)
			signal(s, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	signal(SIGTTIN, SIG_IGN);
}

static void take_signals(struct run *r)
{
	struct signalfd_siginfo info;

	while (read(r->signals, &info, sizeof info) == (ssize_t)sizeof info) {
		int s = (int)info.ssi_signo;
		uint8_t size[8];

		if (s == SIGCHLD) {
			if (r->relay)
				r->shim->relay->reap(r->relay);
		} else if (s == SIGWINCH) {
			if (r->tty && describe_terminal(STDIN_FILENO, size) == 0)
				send_small(r, F_WINSIZE, 0, 0, size, sizeof size);
		} else if (s != SIGPIPE && s != SIGTTOU && s != SIGTTIN && r->shim->session) {
			send_small(r, F_SIGNAL, (uint64_t)s, SIGNAL_SESSION, NULL, 0);
		}
	}
}

/* Ends as the process ended that this one stood for. */
static int end_like(struct run *r)
{
	const struct stdio *s = &r->stdio;
	int status = 0;

	restore_terminal(r);
	switch (s->exit_kind) {
	case EXIT_STATUS:
		return (int)(s->exit_value & 0xff);
	case EXIT_SIGNAL:
		status = (int)s->exit_value;
		if (status > 0 && status < NSIG) {
			struct rlimit none = { 0, 0 };
			sigset_t set;

			setrlimit(RLIMIT_CORE, &none); /* the core would be ours, not the job's */
			prctl(PR_SET_DUMPABLE, 0);
			signal(status, SIG_DFL);
			sigemptyset(&set);
			sigaddset(&set, status);
			kill(getpid(), status);
			sigprocmask(SIG_UNBLOCK, &set, NULL);
		}
		return 128 + status;
	case EXIT_NOT_STARTED:
		if (*s->message)
			complain(s->message);
		return s->exit_value == ENOENT ? 127 : 126;
	default:
		complain(*s->message ? s->message : "caddis: the step was lost");
		return SHIM_LOST;
	}
}

/* ---- the loop ---- */

static int reconnect(struct run *r)
{
	int fd;

	close(r->sock);
	r->sock = -1;
	r->broken = 0;
	r->opened = 0;
	stdio_detached(&r->stdio);
	if (r->relay)
		r->shim->relay->detach(r->relay);
	if (r->shim->lost_seconds <= 0)
		return SHIM_UNREACHABLE;
	fd = connect_within(r->shim->path, r->shim->lost_seconds);
	if (fd < 0) {
		complain("caddis: the connection to caddisd was lost and did not come back");
		return SHIM_LOST;
	}
	return begin(r, fd) < 0 ? SHIM_PROTOCOL : 0;
}

/* EXIT_ACK lets the other end forget the session: it should get there before we end. */
static void finish(struct run *r)
{
	double end = now_seconds() + 2;

	send_small(r, F_EXIT_ACK, 0, 0, NULL, 0);
	while (r->queue_start < r->queue_end && !r->broken && now_seconds() < end) {
		struct pollfd p = { .fd = r->sock, .events = POLLOUT };

		poll(&p, 1, 100);
		flush(r);
	}
	shutdown(r->sock, SHUT_WR);
}

static int loop(struct run *r)
{
	struct pollset set = { 0 };
	int status = 0;

	while (!status) {
		int timeout = r->relay ? r->shim->relay->timeout(r->relay) : -1;

		push_document(r);
		flush(r);
		if (r->broken) {
			/* A connection on which nothing ever came: somebody who closes at once must not be hammered. */
			if (!r->read_bytes)
				nanosleep(&(struct timespec){ 0, RETRY_MS * 1000000L }, NULL);
			r->read_bytes = 0;
			status = reconnect(r);
			continue;
		}
		set.count = 0;
		r->sock_place = pollset_add(&set, r->sock, (short)(POLLIN | (r->queue_start < r->queue_end ? POLLOUT : 0)));
		r->signal_place = pollset_add(&set, r->signals, POLLIN);
		stdio_watch(&r->stdio, &set);
		if (r->relay)
			r->shim->relay->watch(r->relay, &set);
		if (poll(set.fds, set.count, timeout) < 0 && errno != EINTR)
			return SHIM_PROTOCOL;
		if (pollset_events(&set, r->signal_place) && (r->opened || !r->shim->session))
			take_signals(r);
		else if (pollset_events(&set, r->signal_place))
			/* Not connected yet: signals wait in the queue of the kernel. */
			nanosleep(&(struct timespec){ 0, 5000000L }, NULL);
		if (pollset_events(&set, r->sock_place))
			status = read_socket(r);
		stdio_work(&r->stdio, &set);
		if (r->relay)
			r->shim->relay->work(r->relay, &set);
		if (!status && stdio_done(&r->stdio)) {
			finish(r);
			pollset_free(&set);
			return -1;
		}
	}
	pollset_free(&set);
	return status;
}

static int is_null_device(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
}

int shim_run(const struct shim *shim)
{
	/* Not on the stack, and only touched where used: an idle shim stays small. */
	static struct run run;
	struct run *r = &run;
	sigset_t old, all;
	int fd, status;

	r->shim = shim;
	r->sock = -1;
	if (parser_init(&r->parser, 0) < 0)
		return SHIM_PROTOCOL;
	r->tty = shim->session && isatty(STDIN_FILENO);
	stdio_init(&r->stdio, shim->session && !is_null_device(STDIN_FILENO), r->tty);
	r->stdio.send = send_frame;
	r->stdio.user = r;
	block_signals(&old);
	sigfillset(&all);
	r->signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	fd = connect_within(shim->path, shim->connect_seconds);
	if (fd < 0) {
		if (shim->unreachable) {
			char text[512];

			snprintf(text, sizeof text, "%s: %s", shim->unreachable, strerror(errno));
			complain(text);
		}
		return SHIM_UNREACHABLE;
	}
	if (begin(r, fd) < 0)
		return SHIM_PROTOCOL;
	raw_terminal(r);
	status = loop(r);
	if (r->relay)
		shim->relay->end(r->relay);
	if (status < 0)
		return end_like(r);
	restore_terminal(r);
	if (status == SHIM_PROTOCOL)
		complain("caddis: the other end broke the protocol");
	return status;
}
