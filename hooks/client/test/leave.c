/* A session that goes to another host (MOVED). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "clock_ms.h"
#include "kept.h"
#include "move_rig.h"
#include "relayed.h"
#include "tests.h"

#define COMMAND (GUEST_OPENED | 5)

static void leaves(void)
{
	static struct rig r;
	int fds[3] = { -1, -1, -1 };
	struct stat st;

	make(&r);
	fds[1] = file(path_of[0], 0, "head:");
	CHECK(lseek(fds[1], 5, SEEK_SET) == 5);
	start(&r, fds);
	open_now(&r);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 0, "0123456789", 10);
	rig_say(&r, F_DATA, STREAM_STDERR, 0, 0, "err", 3);
	rig_say(&r, F_MOVED, STREAM_NONE, 0, 99, NULL, 0);
	CHECK(rig_expect(&r, F_MOVED) && r.last.length == 64 && r.last.session == RIG_SESSION);
	CHECK(!fstat(fds[1], &st));
	CHECK(moved(&r, 1, 0) == 10 && moved(&r, 1, 1) == 15 && moved(&r, 1, 2) == st.st_dev && moved(&r, 1, 3) == st.st_ino);
	CHECK(moved(&r, 2, 0) == 3 && moved(&r, 2, 1) == KEPT_NONE);
	say_end(&r, 99);
	CHECK(rig_wait(&r, 5000) && exited(&r, 99) && !strcmp(r.text[1], "err") && holds(path_of[0], "head:0123456789"));
	close(fds[1]);
	rig_end(&r);

	/* Before its OPENED, and after its EXIT: it goes on elsewhere all the same. */
	make(&r);
	start(&r, NULL);
	rig_say(&r, F_MOVED, STREAM_NONE, 0, 0, NULL, 0);
	CHECK(rig_expect(&r, F_MOVED) && moved(&r, 1, 0) == 0);
	silent_end(&r);
	rig_end(&r);
	make(&r);
	start(&r, NULL);
	open_now(&r);
	rig_exit(&r, EXIT_STATUS, 3, 0, 4, 0, "");
	rig_say(&r, F_MOVED, STREAM_NONE, 0, 0, NULL, 0);
	CHECK(rig_expect(&r, F_MOVED));
	silent_end(&r);
	rig_end(&r);
}

static void fill_pipe(struct rig *r)
{
	static uint8_t b[65536];

	for (uint64_t at = 0; at < STREAM_WINDOW; at += sizeof b)
		rig_say(r, F_DATA, STREAM_STDOUT, 0, at, b, sizeof b);
}

static void at_the_readers_pace(void)
{
	static struct rig r;
	int64_t before;
	int unread = 0;

	/* One that does not read is not waited for longer than 2 s: a pipe holds 64 KiB. */
	make(&r);
	start(&r, NULL);
	r.slow[0] = 1;
	open_now(&r);
	fill_pipe(&r);
	before = clock_ms();
	rig_say(&r, F_MOVED, STREAM_NONE, 0, 0, NULL, 0);
	CHECK(rig_expect(&r, F_MOVED) && moved(&r, 1, 0) == 65536);
	CHECK(clock_ms() - before >= 1900 && clock_ms() - before < 4000);
	silent_end(&r);
	rig_end(&r);

	/* One that reads gets all that came. */
	make(&r);
	start(&r, NULL);
	r.slow[0] = 1;
	open_now(&r);
	fill_pipe(&r);
	rig_say(&r, F_MOVED, STREAM_NONE, 0, 0, NULL, 0);
	for (before = clock_ms(); clock_ms() - before < 300;)
		rig_turn(&r, 20);
	CHECK(write(r.in, "abc", 3) == 3);
	for (before = clock_ms(); clock_ms() - before < 300;)
		rig_turn(&r, 20);
	/* Input is for whoever goes on. */
	CHECK(!ioctl(r.in, FIONREAD, &unread) && unread == 3);
	r.slow[0] = 0;
	CHECK(rig_expect(&r, F_MOVED) && moved(&r, 1, 0) == STREAM_WINDOW);
	CHECK(clock_ms() - before < 1900);
	silent_end(&r);
	rig_end(&r);
}

/* The connection breaks, and the next caddisd hears the same. */
static void asked_again(struct rig *r)
{
	rig_break(r);
	CHECK(rig_open(r) && rig_tags(r, T_SESSION, NULL, NULL) == 1);
	open_now(r);
	CHECK(rig_expect(r, F_ATTACH) && get64(r->payload + 8) == 65536);
	rig_say(r, F_MOVED, STREAM_NONE, 0, 0, NULL, 0);
	CHECK(rig_expect(r, F_MOVED) && moved(r, 1, 0) == 65536);
	silent_end(r);
	rig_end(r);
}

static void broken_before_the_answer(void)
{
	static struct rig r;

	make(&r);
	start(&r, NULL);
	r.slow[0] = 1;
	open_now(&r);
	fill_pipe(&r);
	rig_say(&r, F_MOVED, STREAM_NONE, 0, 0, NULL, 0);
	for (int i = 0; i < 10; i++)
		rig_turn(&r, 20);
	asked_again(&r);
}

/* What it answered may have been lost with caddisd: it stays until it hears that this is not so, and says no less and no more to the next one. */
static void broken_after_the_answer(void)
{
	static struct rig r;

	make(&r);
	start(&r, NULL);
	r.slow[0] = 1;
	open_now(&r);
	fill_pipe(&r);
	rig_say(&r, F_MOVED, STREAM_NONE, 0, 0, NULL, 0);
	CHECK(rig_expect(&r, F_MOVED) && moved(&r, 1, 0) == 65536);
	/* The reader has room again: what was said holds. */
	r.slow[0] = 0;
	for (int i = 0; i < 15; i++)
		rig_turn(&r, 20);
	CHECK(!kill(r.pid, 0));
	asked_again(&r);
}

static void signals_first(void)
{
	static struct rig r;
	uint8_t order[2] = { 0 };

	/* Those that came while the connection was away leave before the answer. */
	make(&r);
	start(&r, NULL);
	open_now(&r);
	rig_break(&r);
	kill(r.pid, SIGUSR1);
	CHECK(rig_open(&r));
	open_now(&r);
	CHECK(rig_expect(&r, F_ATTACH));
	rig_say(&r, F_MOVED, STREAM_NONE, 0, 0, NULL, 0);
	for (int64_t deadline = clock_ms() + 5000, i = 0; i < 2 && clock_ms() < deadline;) {
		rig_turn(&r, 20);
		if (r.last.type == F_SIGNAL || r.last.type == F_MOVED)
			order[i++] = r.last.type;
	}
	CHECK(order[0] == F_SIGNAL && order[1] == F_MOVED);
	silent_end(&r);
	rig_end(&r);
}

static void its_commands_end(void)
{
	struct tlv_writer w = { 0 };
	static struct rig r;
	int64_t deadline;
	pid_t child;

	make(&r);
	start(&r, NULL);
	open_now(&r);
	for (size_t i = 0; i < 3; i++)
		tlv_put_text(&w, T_ARG, ((const char *[]){ "sh", "-c", "trap '' TERM; echo $$; while :; do sleep 1; done" })[i]);
	tlv_put_text(&w, T_PROGRAM, "/bin/sh");
	tlv_put_text(&w, T_CWD, "/");
	tlv_put_text(&w, T_ENV, "PATH=/usr/bin:/bin");
	rig_say_as(&r, COMMAND, F_OPEN, STREAM_NONE, 0, 0, w.data, w.length);
	tlv_free(&w);
	CHECK(rig_expect(&r, F_DATA));
	r.payload[r.last.length] = 0;
	child = atoi((char *)r.payload);
	CHECK(child > 1 && !kill(child, 0));
	rig_say(&r, F_MOVED, STREAM_NONE, 0, 0, NULL, 0);
	CHECK(rig_expect(&r, F_MOVED));
	silent_end(&r);
	for (deadline = clock_ms() + 5000; clock_ms() < deadline; usleep(5000)) {
		char path[64], state[64] = "";
		FILE *f;

		snprintf(path, sizeof path, "/proc/%d/stat", (int)child);
		f = fopen(path, "r");
		if (!f || fscanf(f, "%*d %*s %63s", state) != 1 || state[0] == 'Z')
			deadline = 0;
		if (f)
			fclose(f);
	}
	CHECK(deadline == 0);
	rig_end(&r);
}

static void terminal_again(void)
{
	struct termios before, after;
	static struct rig r;
	int master, slave;

	make(&r);
	CHECK(!openpty(&master, &slave, NULL, NULL, NULL) && !tcgetattr(slave, &before));
	fcntl(master, F_SETFD, FD_CLOEXEC);
	start(&r, (int[]){ slave, slave, slave });
	open_now(&r);
	for (int64_t deadline = clock_ms() + 5000; clock_ms() < deadline && !tcgetattr(slave, &after) && (after.c_lflag & ICANON);)
		rig_turn(&r, 10);
	CHECK(!(after.c_lflag & ICANON));
	rig_say(&r, F_MOVED, STREAM_NONE, 0, 0, NULL, 0);
	CHECK(rig_expect(&r, F_MOVED));
	silent_end(&r);
	CHECK(!tcgetattr(slave, &after) && after.c_lflag == before.c_lflag && after.c_oflag == before.c_oflag);
	close(master);
	close(slave);
	rig_end(&r);
}

void test_leave(void)
{
	leaves();
	at_the_readers_pace();
	broken_before_the_answer();
	broken_after_the_answer();
	signals_first();
	its_commands_end();
	terminal_again();
}
