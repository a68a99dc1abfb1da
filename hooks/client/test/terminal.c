/* Signals and terminals. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "clock_ms.h"
#include "tests.h"

static void forwarded(void)
{
	static const int numbers[] = { SIGUSR1, SIGUSR2, SIGHUP, SIGINT, SIGQUIT, SIGALRM, SIGXCPU, SIGXFSZ, SIGTSTP, SIGCONT, SIGTERM, SIGABRT, 40 };
	static struct rig r;
	int right = 0, status;

	rig_make(&r);
	rig_listen(&r);
	rig_exec(&r, (char *[]){ "x", NULL });
	CHECK(rig_open(&r));
	/* Before OPENED: kept, for the process may already run. */
	kill(r.pid, SIGUSR2);
	for (int i = 0; i < 5; i++)
		rig_turn(&r, 20);
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	CHECK(rig_expect(&r, F_SIGNAL) && r.last.offset == SIGUSR2);
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		kill(r.pid, numbers[i]);
		right += rig_expect(&r, F_SIGNAL) && r.last.offset == (uint64_t)numbers[i] && r.last.flags == SIGNAL_SESSION;
	}
	CHECK(right == (int)(sizeof numbers / sizeof numbers[0]));
	CHECK(waitpid(r.pid, &status, WNOHANG | WUNTRACED) == 0);
	/* While caddisd is away: kept too. */
	rig_break(&r);
	kill(r.pid, SIGUSR1);
	CHECK(rig_open(&r));
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	CHECK(rig_expect(&r, F_ATTACH));
	rig_attached(&r, 0, 0, 0);
	CHECK(rig_expect(&r, F_SIGNAL) && r.last.offset == SIGUSR1);
	rig_exit(&r, EXIT_SIGNAL, SIGTERM, 0, 0, 0, "");
	CHECK(rig_wait(&r, 5000) && signalled(&r, SIGTERM));
	rig_end(&r);
}

/* Turns until the terminal is raw (or not). */
static int becomes(struct rig *r, int master, int raw)
{
	int64_t deadline = clock_ms() + 5000;
	struct termios t;

	while (clock_ms() < deadline) {
		rig_turn(r, 10);
		if (!tcgetattr(master, &t) && (t.c_lflag & ICANON) == (raw ? 0u : (tcflag_t)ICANON))
			return 1;
	}
	return 0;
}

static int master, slave;
static struct termios before;

static void on_terminal(struct rig *r)
{
	struct winsize size = { 24, 80, 0, 0 };
	const uint8_t *v = NULL;
	uint32_t n = 0;
	int fds[3];

	CHECK(!openpty(&master, &slave, NULL, NULL, &size));
	fcntl(master, F_SETFD, FD_CLOEXEC);
	tcgetattr(slave, &before);
	fds[0] = fds[1] = fds[2] = slave;
	rig_make(r);
	rig_listen(r);
	rig_start(r, hook_path, (char *[]){ "caddis-hook", "--run", r->dir, "exec", "x", NULL }, (char *[]){ "CADDIS_KEY=slurm-1", NULL }, fds);
	CHECK(rig_open(r));
	CHECK(rig_tags(r, T_TTY, &v, &n) == 1 && n == 8 && get16(v) == 24 && get16(v + 2) == 80);
	CHECK(rig_tags(r, T_TERMIOS, NULL, NULL) == 1);
	rig_say(r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	CHECK(becomes(r, slave, 1));
}

static void restored(struct rig *r)
{
	struct termios after;

	CHECK(!tcgetattr(slave, &after));
	CHECK(after.c_lflag == before.c_lflag && after.c_iflag == before.c_iflag && after.c_oflag == before.c_oflag && !memcmp(after.c_cc, before.c_cc, sizeof after.c_cc));
	close(master);
	close(slave);
	rig_end(r);
}

static void terminal(void)
{
	struct winsize size = { 50, 132, 0, 0 };
	static struct rig r;
	char text[64] = "";

	on_terminal(&r);
	CHECK(write(master, "\003", 1) == 1);
	CHECK(rig_expect(&r, F_DATA) && r.last.stream == STREAM_STDIN && r.last.length == 1 && r.payload[0] == 3);
	ioctl(master, TIOCSWINSZ, &size);
	CHECK(rig_expect(&r, F_WINSIZE) && get16(r.payload) == 50 && get16(r.payload + 2) == 132);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 0, "a\nb", 3);
	CHECK(rig_expect(&r, F_ACK));
	CHECK(read(master, text, sizeof text) == 3 && !strcmp(text, "a\nb"));
	rig_exit(&r, EXIT_STATUS, 0, 0, 3, 0, "");
	CHECK(rig_wait(&r, 5000) && exited(&r, 0));
	restored(&r);

	on_terminal(&r);
	rig_exit(&r, EXIT_SIGNAL, SIGKILL, 0, 0, 0, "");
	CHECK(rig_wait(&r, 5000) && signalled(&r, SIGKILL));
	restored(&r);

	on_terminal(&r);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 5, "gap", 3);
	CHECK(rig_wait(&r, 5000) && exited(&r, 70));
	restored(&r);
}

void test_terminal(void)
{
	forwarded();
	terminal();
}
