/* Bytes: binary-safe, exactly once over broken connections, at the reader's pace. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock_ms.h"
#include "tests.h"

#define MB 1000000ull

/* Repeats only after 2^56 bytes, so that a lost, doubled or moved piece shows. */
uint8_t pattern(uint64_t position) { return (uint8_t)((position / 8 * 0x9e3779b97f4a7c15ull) >> (8 * (position % 8))); }

int helper(const char *what, const char *bytes)
{
	static uint8_t b[65536];
	uint64_t total = strtoull(bytes, NULL, 10), at = 0;

	if (!strcmp(what, "generate"))
		while (at < total) {
			size_t n = total - at < sizeof b ? (size_t)(total - at) : sizeof b;

			for (size_t i = 0; i < n; i++)
				b[i] = pattern(at + i);
			for (size_t done = 0; done < n;) {
				ssize_t w = write(1, b + done, n - done);

				if (w < 0)
					return 1;
				done += (size_t)w;
			}
			at += n;
		}
	else
		for (ssize_t n; (n = read(0, b, sizeof b)) != 0; at += (uint64_t)n)
			for (ssize_t i = 0; i < n; i++)
				if (n < 0 || b[i] != pattern(at + (uint64_t)i))
					return 2;
	return at == total ? 42 : 3;
}

static int mismatch;

static void verify(struct rig *r, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		mismatch |= bytes[i] != pattern(r->sunk + i);
	r->sunk += length;
}

/* Writes the pattern into the client's stdin as it takes it; returns when it ended. */
static void feed(struct rig *r, uint64_t total, int ms)
{
	static uint8_t b[65536];
	int64_t deadline = clock_ms() + ms;
	uint64_t at = 0;

	while (r->pid > 0 && clock_ms() < deadline) {
		while (at < total) {
			size_t n = total - at < sizeof b ? (size_t)(total - at) : sizeof b;
			ssize_t w;

			for (size_t i = 0; i < n; i++)
				b[i] = pattern(at + i);
			w = write(r->in, b, n);
			if (w <= 0)
				break;
			at += (uint64_t)w;
		}
		if (at == total && r->in >= 0) {
			close(r->in);
			r->in = -1;
		}
		rig_turn(r, 5);
	}
}

static void real(struct rig *r, char *const words[], int breaks, uint64_t every)
{
	rig_make(r);
	rig_listen(r);
	r->real = 1;
	r->breaks_left = breaks;
	r->break_every = every;
	r->break_at = every / 2;
	mismatch = 0;
	rig_exec(r, words);
}

static void carried(void)
{
	static struct rig r;
	int64_t before = clock_ms();

	real(&r, (char *[]){ (char *)(uintptr_t)self_path, "generate", "50000000", NULL }, 20, 4 * MB);
	r.sink = verify;
	CHECK(rig_wait(&r, 90000) && exited(&r, 42));
	CHECK(r.sunk == 50 * MB && !mismatch && r.breaks_left == 0 && r.opens == 21);
	printf("  50 MB of stdout over 20 broken connections: %lld ms\n", (long long)(clock_ms() - before));
	rig_end(&r);

	before = clock_ms();
	real(&r, (char *[]){ (char *)(uintptr_t)self_path, "verify", "20000000", NULL }, 15, 2 * MB);
	feed(&r, 20 * MB, 90000);
	CHECK(rig_wait(&r, 5000) && exited(&r, 42));
	CHECK(r.breaks_left == 0 && r.opens == 16);
	printf("  20 MB of stdin over 15 broken connections: %lld ms\n", (long long)(clock_ms() - before));
	rig_end(&r);

	real(&r, (char *[]){ "cat", NULL }, 15, MB);
	r.sink = verify;
	feed(&r, 8 * MB, 90000);
	CHECK(rig_wait(&r, 5000) && exited(&r, 0));
	CHECK(r.sunk == 8 * MB && !mismatch && r.breaks_left == 0);
	rig_end(&r);

	real(&r, (char *[]){ "sh", "-c", "echo out; echo err >&2; kill -SEGV $$", NULL }, 0, 1);
	CHECK(rig_wait(&r, 5000) && signalled(&r, SIGSEGV));
	CHECK(!strcmp(r.text[0], "out\n") && !strcmp(r.text[1], "err\n"));
	rig_end(&r);

	real(&r, (char *[]){ "no-such-program-anywhere", NULL }, 0, 1);
	CHECK(rig_wait(&r, 5000) && exited(&r, 127));
	CHECK(rig_reads(&r, 1, "execve(): no-such-program-anywhere: No such file or directory\n"));
	rig_end(&r);
}

static void by_hand(struct rig *r)
{
	rig_make(r);
	rig_listen(r);
	rig_exec(r, (char *[]){ "x", NULL });
	CHECK(rig_open(r));
	rig_say(r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
}

static void full_window(struct rig *r)
{
	static uint8_t b[65536];

	for (uint64_t at = 0; at < STREAM_WINDOW; at += sizeof b) {
		for (size_t i = 0; i < sizeof b; i++)
			b[i] = pattern(at + i);
		rig_say(r, F_DATA, STREAM_STDOUT, 0, at, b, sizeof b);
	}
}

static void back_pressure(void)
{
	static struct rig r;
	uint64_t acked = 0, err = 0;
	int64_t deadline;

	by_hand(&r);
	r.slow[0] = 1;
	r.sink = verify;
	mismatch = 0;
	full_window(&r);
	rig_say(&r, F_DATA, STREAM_STDERR, 0, 0, "still", 5);
	deadline = clock_ms() + 1000;
	while (clock_ms() < deadline) {
		rig_turn(&r, 20);
		if (r.last.type == F_ACK && r.last.stream == STREAM_STDOUT)
			acked = r.last.offset;
		if (r.last.type == F_ACK && r.last.stream == STREAM_STDERR)
			err = r.last.offset;
	}
	/* A pipe holds 64 KiB: nothing beyond was consumed, and stderr went past it. */
	CHECK(acked <= 65536);
	CHECK(err == 5 && !strcmp(r.text[1], "still"));
	r.slow[0] = 0;
	deadline = clock_ms() + 5000;
	while (acked < STREAM_WINDOW && clock_ms() < deadline) {
		rig_turn(&r, 20);
		if (r.last.type == F_ACK && r.last.stream == STREAM_STDOUT)
			acked = r.last.offset;
	}
	CHECK(acked == STREAM_WINDOW && r.sunk == STREAM_WINDOW && !mismatch);
	/* More than a window ahead of the reader is a broken caddisd. */
	r.slow[0] = 1;
	for (uint64_t at = STREAM_WINDOW; at < 4 * STREAM_WINDOW; at += 65536)
		rig_say(&r, F_DATA, STREAM_STDOUT, 0, at, r.payload, 65536);
	CHECK(rig_wait(&r, 5000) && exited(&r, 70));
	rig_end(&r);
}

static void reader_gone(void)
{
	static struct rig r;

	by_hand(&r);
	close(r.out);
	r.out = -1;
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 0, "lost", 4);
	CHECK(rig_expect(&r, F_EOF) && r.last.stream == STREAM_STDOUT);
	rig_break(&r);
	CHECK(rig_open(&r));
	CHECK(rig_tags(&r, T_SESSION, NULL, NULL) == 1);
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	CHECK(rig_expect(&r, F_ATTACH) && get64(r.payload + 8) == 4);
	rig_attached(&r, 0, 4, 0);
	CHECK(rig_expect(&r, F_EOF) && r.last.stream == STREAM_STDOUT);
	rig_exit(&r, EXIT_SIGNAL, SIGPIPE, 0, 100, 0, "");
	CHECK(rig_wait(&r, 5000) && signalled(&r, SIGPIPE));
	rig_end(&r);
}

static void order(void)
{
	static struct rig r;

	/* EXIT overtakes DATA; a doubled piece is taken once. */
	by_hand(&r);
	rig_exit(&r, EXIT_STATUS, 3, 0, 10, 4, "");
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 0, "01234", 5);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 3, "34567", 5);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 0, "0123", 4);
	rig_say(&r, F_DATA, STREAM_STDERR, 0, 0, "4444", 4);
	for (int i = 0; i < 10; i++)
		rig_turn(&r, 20);
	CHECK(r.pid > 0);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 8, "89", 2);
	CHECK(rig_expect(&r, F_EXIT_ACK));
	CHECK(rig_wait(&r, 5000) && exited(&r, 3));
	CHECK(!strcmp(r.text[0], "0123456789") && !strcmp(r.text[1], "4444"));
	rig_end(&r);

	/* The link broke (LOST): what comes before ATTACHED is stale. */
	by_hand(&r);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 0, "abc", 3);
	rig_say(&r, F_LOST, STREAM_NONE, 0, 0, NULL, 0);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 99, "stale", 5);
	CHECK(rig_expect(&r, F_ATTACH) && get64(r.payload + 8) == 3);
	rig_attached(&r, 0, 3, 0);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 3, "def", 3);
	/* All was said: the end of the connection takes nothing away. */
	rig_exit(&r, EXIT_STATUS, 0, 0, 6, 0, "");
	CHECK(rig_expect(&r, F_EXIT_ACK));
	CHECK(rig_wait(&r, 5000) && exited(&r, 0) && !strcmp(r.text[0], "abcdef"));
	rig_end(&r);

	/* The OPEN may have been taken when the connection broke: it is repeated, and offsets are agreed on. */
	rig_make(&r);
	rig_listen(&r);
	rig_exec(&r, (char *[]){ "x", NULL });
	CHECK(rig_open(&r));
	rig_break(&r);
	CHECK(rig_open(&r) && rig_tags(&r, T_SESSION, NULL, NULL) == 0);
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	CHECK(rig_expect(&r, F_ATTACH));
	/* caddisd comes back and knows nothing of the step: it says so in a session of its own. */
	rig_break(&r);
	CHECK(rig_open(&r) && rig_tags(&r, T_SESSION, NULL, NULL) == 1);
	r.session = 999;
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	rig_say(&r, F_DATA, STREAM_STDERR, 0, 0, "caddis: gone\n", 13);
	rig_exit(&r, EXIT_STATUS, 1, 0, 0, 13, "");
	CHECK(rig_wait(&r, 5000) && exited(&r, 1) && !strcmp(r.text[1], "caddis: gone\n"));
	rig_end(&r);
}

static void rolled_back(int to_file)
{
	static struct rig r;
	char path[128], *argv[] = { "caddis-hook", "--run", NULL, "exec", "x", NULL }, *env[] = { "CADDIS_KEY=slurm-1", NULL }, text[64] = "";
	int fds[3] = { -1, -1, -1 };

	rig_make(&r);
	rig_listen(&r);
	argv[2] = r.dir;
	snprintf(path, sizeof path, "%s/out", r.dir);
	fds[1] = to_file ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	if (to_file)
		CHECK(write(fds[1], "head:", 5) == 5);
	rig_start(&r, hook_path, argv, env, fds);
	CHECK(rig_open(&r));
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 0, "0123456789", 10);
	CHECK(rig_expect(&r, F_ACK) && r.last.offset == 10);
	rig_break(&r);
	CHECK(rig_open(&r));
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	CHECK(rig_expect(&r, F_ATTACH) && get64(r.payload + 8) == 10);
	rig_attached(&r, 0, 4, 0);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 4, "XYZ", 3);
	rig_exit(&r, EXIT_STATUS, 0, 0, 7, 0, "");
	CHECK(rig_wait(&r, 5000) && exited(&r, 0));
	if (to_file) {
		CHECK(pread(fds[1], text, sizeof text - 1, 0) == 12 && !strcmp(text, "head:0123XYZ"));
		close(fds[1]);
	} else {
		CHECK(strstr(r.text[0], "0123456789\ncaddis: ") && strstr(r.text[0], "XYZ"));
	}
	rig_end(&r);
}

void test_streams(void)
{
	carried();
	back_pressure();
	reader_gone();
	order();
	rolled_back(1);
	rolled_back(0);
}
