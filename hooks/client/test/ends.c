/* How a call ends: codes, signals, refusals, a caddisd that is away or breaks the protocol. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock_ms.h"
#include "tests.h"

static char *const WORDS[] = { "--", "anything", NULL };

static void ends_with(uint32_t kind, uint32_t value, uint16_t flags, const char *message, struct rig *r)
{
	rig_make(r);
	rig_listen(r);
	rig_start(r, hook_musl_path, (char *[]){ "caddis-hook", "--run", r->dir, "exec", "--", "anything", NULL }, (char *[]){ "CADDIS_KEY=slurm-1", NULL }, NULL);
	rig_open(r);
	if (kind != EXIT_NOT_STARTED)
		rig_say(r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	rig_exit(r, kind, value, flags, 0, 0, message);
	rig_expect(r, F_EXIT_ACK);
	rig_wait(r, 5000);
}

static void codes(void)
{
	int right = 0, died = 0, expected = 0;
	static struct rig r;

	for (uint32_t code = 0; code < 256; code++) {
		ends_with(EXIT_STATUS, code, 0, "", &r);
		right += exited(&r, (int)code);
		rig_end(&r);
	}
	CHECK(right == 256);
	for (uint32_t n = 1; n < 32; n++) {
		if (n == SIGCHLD || n == SIGCONT || n == SIGSTOP || n == SIGTSTP || n == SIGTTIN || n == SIGTTOU || n == SIGURG || n == SIGWINCH)
			continue;
		expected++;
		ends_with(EXIT_SIGNAL, n, 0, "", &r);
		died += signalled(&r, (int)n);
		rig_end(&r);
	}
	CHECK(died == expected);
}

static void refusals(void)
{
	static struct rig r;

	ends_with(EXIT_NOT_STARTED, ENOENT, 0, "execve(): nothing: No such file or directory", &r);
	CHECK(exited(&r, 127));
	CHECK(rig_reads(&r, 1, "execve(): nothing: No such file or directory\n"));
	rig_end(&r);
	ends_with(EXIT_NOT_STARTED, EACCES, 0, "x", &r);
	CHECK(exited(&r, 126));
	rig_end(&r);
	ends_with(EXIT_NOT_STARTED, ENOENT, 0x102, "x", &r);
	CHECK(exited(&r, 2));
	rig_end(&r);
	ends_with(EXIT_LOST, 0, 0, "the machine is gone", &r);
	CHECK(exited(&r, 75));
	CHECK(rig_reads(&r, 1, "caddis: the machine is gone\n"));
	rig_end(&r);

	rig_make(&r);
	rig_listen(&r);
	rig_exec(&r, WORDS);
	CHECK(rig_open(&r));
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	rig_say(&r, F_LOST, STREAM_NONE, 1, 0, "caddis: killed", 14);
	CHECK(rig_wait(&r, 5000) && exited(&r, 75));
	CHECK(rig_reads(&r, 1, "caddis: killed\n") && !strstr(r.text[1], "caddis: caddis"));
	rig_end(&r);
}

static void unreachable(void)
{
	char *argv[] = { "caddis-hook", "--connect-timeout", "0.3", "--run", NULL, "prolog", "slurm", NULL };
	static struct rig r;
	int64_t before;

	rig_make(&r);
	argv[4] = r.dir;
	before = clock_ms();
	rig_start(&r, hook_path, argv, NULL, NULL);
	CHECK(rig_wait(&r, 5000) && exited(&r, 69));
	CHECK(clock_ms() - before >= 300 && clock_ms() - before < 3000);
	CHECK(rig_reads(&r, 1, "cannot reach caddisd"));
	rig_end(&r);

	/* A hook whose caddisd dies before it answers asks again, and falls back when nobody is there any more. */
	rig_make(&r);
	argv[4] = r.dir;
	rig_listen(&r);
	rig_start(&r, hook_path, argv, NULL, NULL);
	CHECK(rig_open(&r));
	rig_break(&r);
	CHECK(rig_open(&r));
	close(r.listener);
	r.listener = -1;
	rig_break(&r);
	CHECK(rig_wait(&r, 5000) && exited(&r, 69));
	rig_end(&r);

	/* A signal before anything was started is this process's own. */
	rig_make(&r);
	rig_exec(&r, WORDS);
	for (int i = 0; i < 10; i++)
		rig_turn(&r, 20);
	kill(r.pid, SIGTERM);
	CHECK(rig_wait(&r, 2000) && signalled(&r, SIGTERM));
	rig_end(&r);

	rig_make(&r);
	rig_start(&r, hook_path, (char *[]){ "caddis-hook", NULL }, NULL, NULL);
	CHECK(rig_wait(&r, 5000) && exited(&r, 64));
	rig_end(&r);
	rig_make(&r);
	rig_start(&r, hook_path, (char *[]){ "caddis-hook", "exec", "x", NULL }, NULL, NULL);
	CHECK(rig_wait(&r, 5000) && exited(&r, 64));
	rig_end(&r);
	rig_make(&r);
	rig_start(&r, hook_path, (char *[]){ "caddis-hook", "exec", "x", NULL }, (char *[]){ "CADDIS_KEY=../evil", NULL }, NULL);
	CHECK(rig_wait(&r, 5000) && exited(&r, 64));
	rig_end(&r);
}

static void broken(void (*break_it)(struct rig *r))
{
	static struct rig r;

	rig_make(&r);
	rig_listen(&r);
	rig_exec(&r, WORDS);
	CHECK(rig_open(&r));
	break_it(&r);
	CHECK(rig_wait(&r, 5000) && exited(&r, 70));
	CHECK(rig_reads(&r, 1, "broke the protocol"));
	rig_end(&r);
}

static void opened(struct rig *r) { rig_say(r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0); }

static void noise(struct rig *r)
{
	static uint8_t b[4096];

	for (size_t i = 0; i < sizeof b; i++)
		b[i] = (uint8_t)any();
	send(r->channel.fd, b, sizeof b, MSG_NOSIGNAL);
}

static void bad_trailer(struct rig *r)
{
	uint8_t b[FRAME_HEADER + 4];
	struct frame f = { .type = F_OPENED, .stream = STREAM_NONE, .session = RIG_SESSION };

	frame_header(b, &f);
	frame_trailer(b + FRAME_HEADER, 1);
	send(r->channel.fd, b, sizeof b, MSG_NOSIGNAL);
}

static void gap(struct rig *r)
{
	opened(r);
	rig_say(r, F_DATA, STREAM_STDOUT, 0, 5, "x", 1);
}

static void stranger(struct rig *r)
{
	opened(r);
	rig_say_as(r, 77, F_DATA, STREAM_STDOUT, 0, 0, "x", 1);
}

static void false_ack(struct rig *r)
{
	opened(r);
	rig_say(r, F_ACK, STREAM_STDIN, 0, 1000, NULL, 0);
}

static void short_exit(struct rig *r)
{
	opened(r);
	rig_say(r, F_EXIT, STREAM_NONE, 0, 0, "1234567", 7);
}

static void odd_signal(struct rig *r)
{
	opened(r);
	rig_exit(r, EXIT_SIGNAL, 4000, 0, 0, 0, "");
}

static void wrong_way(struct rig *r)
{
	opened(r);
	rig_say(r, F_ATTACH, STREAM_NONE, 0, 0, "", 0);
}

void test_ends(void)
{
	codes();
	refusals();
	unreachable();
	broken(noise);
	broken(bad_trailer);
	broken(gap);
	broken(stranger);
	broken(false_ack);
	broken(short_exit);
	broken(odd_signal);
	broken(wrong_way);
}
