#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"

static const char *const names[2] = { "ctl", "bulk" };

pid_t agent_start(const char *program, char directory[64])
{
	pid_t pid;

	strcpy(directory, "/tmp/caddis-init-test.XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	pid = fork();
	if (pid == 0) {
		/* A test that a sanitizer ends must not leave its agent behind. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(program, program, "--agent", directory, (char *)NULL);
		_exit(127);
	}
	return pid;
}

int agent_stop(pid_t pid, const char *directory)
{
	char path[128];
	int status = -1;

	kill(pid, SIGTERM);
	for (int64_t until = clock_ms() + 10000; waitpid(pid, &status, WNOHANG) == 0; clock_sleep_ms(5))
		if (clock_ms() > until) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", directory, i < 2 ? names[i] : "relay.sock");
		unlink(path);
	}
	rmdir(directory);
	return status;
}

static int connect_port(const char *directory, int i)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", directory, names[i]);
	for (int64_t until = clock_ms() + 10000; connect(fd, (struct sockaddr *)&a, sizeof a); clock_sleep_ms(5))
		if (clock_ms() > until) {
			close(fd);
			return -1;
		}
	return fd;
}

static int echo(struct peer *p, int port)
{
	struct pollfd q = { .fd = p->fds[port], .events = POLLIN };
	struct frame f;

	for (;;) {
		size_t space;
		uint8_t *at;
		ssize_t n;

		while (parser_next(&p->parsers[port], &f) == 1)
			if (f.type == F_HELLO && f.link == p->generation)
				return 1;
		at = parser_space(&p->parsers[port], &space);
		if (poll(&q, 1, 10000) != 1 || (n = read(q.fd, at, space)) <= 0)
			return 0;
		parser_fed(&p->parsers[port], (size_t)n);
	}
}

int peer_connect(struct peer *p, const char *directory)
{
	uint8_t payload[24] = { 0 };
	struct frame f;

	p->generation = (uint32_t)any() | 1;
	for (int i = 0; i < 2; i++) {
		p->fds[i] = connect_port(directory, i);
		parser_init(&p->parsers[i], 1);
	}
	if (p->fds[0] < 0 || p->fds[1] < 0)
		return -1;
	put16(payload + 16, 1);
	put16(payload + 18, 1);
	for (uint32_t i = 0; i < 2; i++) {
		uint8_t header[FRAME_HEADER], trailer[4];

		put32(payload + 20, i);
		f = (struct frame){ .type = F_HELLO, .stream = STREAM_NONE, .length = 24, .link = p->generation };
		frame_header(header, &f);
		frame_trailer(trailer, p->generation);
		if (write(p->fds[i], header, sizeof header) < 0 || write(p->fds[i], payload, 24) < 0 || write(p->fds[i], trailer, 4) < 0)
			return -1;
	}
	/* What follows an echo on its port is for the test. */
	return echo(p, 1) && echo(p, 0) ? 0 : -1;
}

void peer_close(struct peer *p)
{
	for (int i = 0; i < 2; i++) {
		if (p->fds[i] >= 0)
			close(p->fds[i]);
		parser_free(&p->parsers[i]);
	}
}

int peer_send(struct peer *p, struct frame f, const void *payload)
{
	static uint8_t whole[FRAME_HEADER + FRAME_PAYLOAD_MAX + FRAME_TRAILER_BYTES];
	int fd = p->fds[f.type == F_DATA || f.type == F_EOF];
	size_t length = FRAME_HEADER + f.length + FRAME_TRAILER_BYTES;

	f.link = p->generation;
	frame_header(whole, &f);
	if (f.length)
		memcpy(whole + FRAME_HEADER, payload, f.length);
	frame_trailer(whole + FRAME_HEADER + f.length, f.link);
	return send(fd, whole, length, MSG_NOSIGNAL) == (ssize_t)length ? 0 : -1;
}

int peer_next(struct peer *p, struct frame *f, int ms)
{
	int64_t until = clock_ms() + ms;

	for (;;) {
		struct pollfd q[2];
		int64_t left;

		for (int i = 0; i < 2; i++)
			if (parser_next(&p->parsers[i], f) == 1)
				return 1;
		left = until - clock_ms();
		if (left < 0)
			return 0;
		for (int i = 0; i < 2; i++)
			q[i] = (struct pollfd){ .fd = p->fds[i], .events = POLLIN };
		if (poll(q, 2, (int)left) <= 0)
			continue;
		for (int i = 0; i < 2; i++) {
			size_t space;
			uint8_t *at = parser_space(&p->parsers[i], &space);
			ssize_t n = q[i].revents ? read(p->fds[i], at, space) : 0;

			if (q[i].revents && n <= 0)
				return -1;
			parser_fed(&p->parsers[i], (size_t)n);
		}
	}
}
