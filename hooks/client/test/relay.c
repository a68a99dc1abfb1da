/* Commands called inside the job: the hook runs them, the stub is their stdio. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock_ms.h"
#include "relayed.h"
#include "tests.h"

#define COMMAND (GUEST_OPENED | 5)

static void say(struct rig *r, uint8_t type, uint8_t stream, uint64_t offset, const void *payload, size_t length)
{
	rig_say_as(r, COMMAND, type, stream, 0, offset, payload, length);
}

static void start(struct rig *r, const char *script)
{
	struct tlv_writer w = { 0 };

	rig_make(r);
	rig_listen(r);
	rig_exec(r, (char *[]){ "x", NULL });
	CHECK(rig_open(r));
	rig_say(r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	tlv_put_text(&w, T_ARG, "sh");
	tlv_put_text(&w, T_ARG, "-c");
	tlv_put_text(&w, T_ARG, script);
	tlv_put_text(&w, T_PROGRAM, "/bin/sh");
	tlv_put_text(&w, T_CWD, "/");
	tlv_put_text(&w, T_ENV, "PATH=/usr/bin:/bin");
	tlv_put_u64(&w, T_UMASK, 022);
	say(r, F_OPEN, STREAM_NONE, 0, w.data, w.length);
	tlv_free(&w);
	CHECK(rig_expect(r, F_OPENED) && r->last.session == COMMAND);
}

static void run_here(void)
{
	static struct rig r;

	start(&r, "read x; echo got $x; exit 7");
	say(&r, F_DATA, STREAM_STDIN, 0, "word\n", 5);
	CHECK(rig_expect(&r, F_DATA) && r.last.session == COMMAND && r.last.length == 9 && !memcmp(r.payload, "got word\n", 9));
	say(&r, F_ACK, STREAM_STDOUT, 9, NULL, 0);
	CHECK(rig_expect(&r, F_EXIT) && get32(r.payload) == EXIT_STATUS && get32(r.payload + 4) == 7);
	/* Status and output stay over a broken connection, until they were taken. */
	rig_break(&r);
	CHECK(rig_open(&r));
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	CHECK(rig_expect(&r, F_ATTACH) && r.last.session == RIG_SESSION);
	rig_attached(&r, 0, 0, 0);
	uint8_t d[24] = { 0 };
	d[8] = 9;
	say(&r, F_ATTACH, STREAM_NONE, 77, d, sizeof d);
	CHECK(rig_expect(&r, F_ATTACHED) && r.last.session == COMMAND && r.last.flags == 2 && r.last.offset == 77);
	CHECK(rig_expect(&r, F_EXIT) && get32(r.payload + 4) == 7);
	say(&r, F_EXIT_ACK, STREAM_NONE, 0, NULL, 0);
	/* One that this shim never had. */
	rig_say_as(&r, GUEST_OPENED | 6, F_ATTACH, STREAM_NONE, 0, 78, d, sizeof d);
	CHECK(rig_expect(&r, F_ATTACHED) && r.last.session == (GUEST_OPENED | 6) && r.last.flags == 0 && r.last.offset == 78);
	rig_exit(&r, EXIT_STATUS, 0, 0, 0, 0, "");
	CHECK(rig_wait(&r, 5000) && exited(&r, 0) && r.length[0] == 0);
	rig_end(&r);
}

static void signals(void)
{
	static struct rig r;

	start(&r, "exec 2>/dev/null; trap 'echo usr1' USR1; trap 'echo usr2; exit 3' USR2; echo ready; while :; do sleep 0.02; done");
	CHECK(rig_expect(&r, F_DATA));
	/* The scheduler signalled the shim: the same signal from the guest is an echo. One that only the stub got is not. */
	kill(r.pid, SIGUSR1);
	CHECK(rig_expect(&r, F_SIGNAL) && r.last.session == RIG_SESSION && r.last.offset == SIGUSR1);
	say(&r, F_SIGNAL, STREAM_NONE, SIGUSR1, NULL, 0);
	say(&r, F_SIGNAL, STREAM_NONE, SIGUSR2, NULL, 0);
	CHECK(rig_expect(&r, F_DATA) && r.last.offset == 6 && r.last.length == 5 && !memcmp(r.payload, "usr2\n", 5));
	CHECK(rig_expect(&r, F_EXIT) && get32(r.payload + 4) == 3);
	rig_end(&r);

	/* The step's end is the end of what it called. */
	start(&r, "echo $$; exec sleep 1000");
	CHECK(rig_expect(&r, F_DATA));
	r.payload[r.last.length] = 0;
	pid_t child = atoi((char *)r.payload);
	CHECK(child > 1 && !kill(child, 0));
	rig_exit(&r, EXIT_STATUS, 0, 0, 0, 0, "");
	CHECK(rig_wait(&r, 5000) && exited(&r, 0));
	int64_t deadline = clock_ms() + 5000;
	char path[64], state[64] = "";
	snprintf(path, sizeof path, "/proc/%d/stat", (int)child);
	while (clock_ms() < deadline) {
		FILE *f = fopen(path, "r");
		int here = f && fscanf(f, "%*d %*s %63s", state) == 1 && state[0] != 'Z';

		if (f)
			fclose(f);
		if (!here)
			break;
		usleep(5000);
	}
	CHECK(clock_ms() < deadline);
	rig_end(&r);
}

static void stub(void)
{
	static struct rig r;
	char relay[128], *env[] = { relay, NULL };
	const uint8_t *v = NULL;
	uint32_t n = 0;

	rig_make(&r);
	snprintf(relay, sizeof relay, "CADDIS_TEST_RELAY=%s", r.socket);
	rig_listen(&r);
	rig_start(&r, stub_path, (char *[]){ "srun", "-n2", "hostname", NULL }, env, NULL);
	CHECK(rig_open(&r));
	CHECK(rig_tags(&r, T_VERB, NULL, NULL) == 0 && rig_tags(&r, T_ARG, &v, &n) == 3 && n == 4 && !memcmp(v, "srun", 4));
	r.session = COMMAND;
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 0, "n1\n", 3);
	CHECK(rig_expect(&r, F_ACK) && r.last.session == COMMAND && r.last.offset == 3);
	/* The link to the host broke and is back. */
	rig_say(&r, F_LOST, STREAM_NONE, 0, 0, NULL, 0);
	CHECK(rig_expect(&r, F_ATTACH) && get64(r.payload + 8) == 3);
	rig_attached(&r, 0, 3, 0);
	kill(r.pid, SIGINT);
	CHECK(rig_expect(&r, F_SIGNAL) && r.last.offset == SIGINT);
	rig_exit(&r, EXIT_STATUS, 9, 0, 3, 0, "");
	CHECK(rig_wait(&r, 5000) && exited(&r, 9) && !strcmp(r.text[0], "n1\n"));
	rig_end(&r);

	rig_make(&r);
	snprintf(relay, sizeof relay, "CADDIS_TEST_RELAY=%s", r.socket);
	rig_start(&r, stub_path, (char *[]){ "srun", NULL }, env, NULL);
	CHECK(rig_wait(&r, 9000) && exited(&r, 127) && rig_reads(&r, 1, "cannot reach the machine's agent"));
	rig_end(&r);
}

void test_relay(void)
{
	run_here();
	signals();
	stub();
}
