/* What the OPEN says, and what an idle client costs. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests.h"

static int has(const struct rig *r, uint16_t tag, const char *text)
{
	struct tlv_reader in = { r->open, r->open + r->open_length };
	const uint8_t *v;
	uint32_t n;
	uint16_t t;

	while (tlv_next(&in, &t, &v, &n) == 1)
		if (t == tag && n == strlen(text) && !memcmp(v, text, n))
			return 1;
	return 0;
}

static void words(void)
{
	static struct rig r;
	char run[96], *env[] = { "CADDIS_KEY=slurm-1", "CADDIS_ARGV0=/spool/job1/slurm_script", run, "EMPTY=", NULL };

	/* Through the swap nothing is an option of ours. */
	rig_make(&r);
	rig_listen(&r);
	snprintf(run, sizeof run, "CADDIS_RUN=%s", r.dir);
	rig_start(&r, hook_path, (char *[]){ "/usr/sbin/caddis-hook", "--connect-timeout", "", "a b", NULL }, env, NULL);
	CHECK(rig_open(&r));
	CHECK(has(&r, T_VERB, "exec") && has(&r, T_ARG, "/spool/job1/slurm_script") && has(&r, T_ARG, "--connect-timeout") && has(&r, T_ARG, "") && has(&r, T_ARG, "a b"));
	CHECK(rig_tags(&r, T_ARG, NULL, NULL) == 4);
	CHECK(has(&r, T_ENV, "EMPTY=") && !has(&r, T_ENV, "CADDIS_KEY=slurm-1") && !has(&r, T_ENV, "CADDIS_ARGV0=/spool/job1/slurm_script"));
	CHECK(rig_tags(&r, T_RLIMIT, NULL, NULL) == 16 && rig_tags(&r, T_CPU, NULL, NULL) > 0 && rig_tags(&r, T_STDIO, NULL, NULL) == 3 && rig_tags(&r, T_TTY, NULL, NULL) == 0);
	rig_end(&r);

	/* Grid Engine's own variables lead to its job; a task that is none is task 1. */
	rig_make(&r);
	rig_listen(&r);
	char from[160], to[160];
	snprintf(from, sizeof from, "%s/jobs/slurm-1", r.dir);
	snprintf(to, sizeof to, "%s/jobs/gridengine-7.1", r.dir);
	CHECK(!symlink(from, to));
	rig_start(&r, hook_path, (char *[]){ "caddis-hook", "--run", r.dir, "exec", "--scheduler", "gridengine", "--", "x", "--", NULL }, (char *[]){ "JOB_ID=7", "SGE_TASK_ID=undefined", NULL }, NULL);
	CHECK(rig_open(&r) && has(&r, T_ARG, "x") && rig_tags(&r, T_ARG, NULL, NULL) == 2);
	rig_end(&r);
}

static void hook_verb(void)
{
	static struct rig r;

	rig_make(&r);
	rig_listen(&r);
	rig_start(&r, hook_path, (char *[]){ "caddis-hook", "--run", r.dir, "status", NULL }, NULL, NULL);
	CHECK(rig_open(&r) && has(&r, T_VERB, "status"));
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 0, NULL, 0);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 0, "{}\n", 3);
	rig_exit(&r, EXIT_STATUS, 5, 0, 3, 0, "");
	CHECK(rig_expect(&r, F_EXIT_ACK));
	CHECK(rig_wait(&r, 5000) && exited(&r, 5) && !strcmp(r.text[0], "{}\n"));
	rig_end(&r);
}

static void large(void)
{
	struct rlimit stack;
	static struct rig r;
	static char value[20][110000];
	char *env[22] = { "CADDIS_KEY=slurm-1" };

	for (int i = 0; i < 20; i++) {
		memset(value[i], 'a' + i, sizeof value[i] - 1);
		memcpy(value[i], (char[]){ 'B', 'I', 'G', (char)('A' + i), '=' }, 5);
		env[i + 1] = value[i];
	}
	/* execve(2): arguments and environment may take a quarter of the stack. */
	getrlimit(RLIMIT_STACK, &stack);
	stack.rlim_cur = 64 << 20;
	CHECK(!setrlimit(RLIMIT_STACK, &stack));
	rig_make(&r);
	rig_listen(&r);
	rig_start(&r, hook_path, (char *[]){ "caddis-hook", "--run", r.dir, "exec", "x", NULL }, env, NULL);
	CHECK(rig_open(&r) && r.open_length > 2000000);
	CHECK(has(&r, T_ENV, value[0]) && has(&r, T_ENV, value[19]));
	rig_end(&r);
}

/* The directory was removed: the name is sent, and it is the other side that fails with it. */
static void no_directory(void)
{
	static struct rig r;
	char here[4096], gone[4200], dir[96];
	const uint8_t *v = NULL;
	uint32_t n = 0;

	rig_make(&r);
	rig_listen(&r);
	snprintf(dir, sizeof dir, "%s/gone", r.dir);
	CHECK(!mkdir(dir, 0700) && getcwd(here, sizeof here) && !chdir(dir) && !rmdir(dir));
	rig_exec(&r, (char *[]){ "x", NULL });
	CHECK(!chdir(here));
	snprintf(gone, sizeof gone, "%s (deleted)", dir);
	CHECK(rig_open(&r) && rig_tags(&r, T_CWD, &v, &n) == 1 && n == strlen(gone) && !memcmp(v, gone, n));
	rig_end(&r);
}

static long private_kb(pid_t pid)
{
	char path[64], line[256];
	long sum = 0, kb;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "Private_%*[^:]: %ld kB", &kb) == 1)
			sum += kb;
	if (f)
		fclose(f);
	return sum;
}

static void ignore_bytes(struct rig *r, const uint8_t *bytes, size_t length)
{
	(void)bytes;
	r->sunk += length;
}

static void memory(void)
{
	static struct rig r;
	static uint8_t b[65536];
	uint64_t sent = 0;
	long idle, after;

	rig_make(&r);
	rig_listen(&r);
	r.sink = ignore_bytes;
	rig_start(&r, hook_musl_path, (char *[]){ "caddis-hook", "--run", r.dir, "exec", "x", NULL }, (char *[]){ "CADDIS_KEY=slurm-1", NULL }, NULL);
	CHECK(rig_open(&r));
	rig_say(&r, F_OPENED, STREAM_NONE, 0, 1, NULL, 0);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 0, b, 1);
	CHECK(rig_expect(&r, F_ACK));
	idle = private_kb(r.pid);
	for (sent = 1; sent < 20000000; sent += sizeof b) {
		rig_say(&r, F_DATA, STREAM_STDOUT, 0, sent, b, sizeof b);
		do {
			if (!rig_expect(&r, F_ACK))
				break;
		} while (r.last.offset + STREAM_WINDOW / 2 < sent + sizeof b);
	}
	after = private_kb(r.pid);
	printf("  private memory of an idle musl shim: %ld KiB, after 20 MB: %ld KiB\n", idle, after);
	CHECK(idle > 0 && idle < 1024);
	CHECK(after > 0 && after < 1024);
	rig_end(&r);
}

void test_call(void)
{
	words();
	hook_verb();
	large();
	no_directory();
	memory();
}
