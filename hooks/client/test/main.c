#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock_ms.h"
#include "tests.h"

int checks_passed, checks_failed;
const char *hook_path, *stub_path, *hook_musl_path, *self_path;

int check_(int ok, const char *file, int line, const char *what)
{
	if (ok)
		checks_passed++;
	else {
		checks_failed++;
		printf("FAILED %s:%d: %s\n", file, line, what);
		fflush(stdout);
	}
	return ok;
}

uint64_t any(void)
{
	static uint64_t x;

	if (!x)
		x = getenv("CADDIS_TEST_SEED") ? strtoull(getenv("CADDIS_TEST_SEED"), NULL, 10) | 1 : 1;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	return x * 0x2545f4914f6cdd1dull;
}

static void run(const char *name, void (*test)(void))
{
	int64_t before = clock_ms();

	test();
	printf("  %s: %lld ms\n", name, (long long)(clock_ms() - before));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static char self[4096];

	if (argc == 3)
		return helper(argv[1], argv[2]);
	if (argc != 4) {
		fprintf(stderr, "usage: client-test HOOK STUB MUSL_HOOK\n");
		return 64;
	}
	hook_path = realpath(argv[1], NULL);
	stub_path = realpath(argv[2], NULL);
	hook_musl_path = realpath(argv[3], NULL);
	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		return 1;
	self_path = self;
	signal(SIGPIPE, SIG_IGN);
	run("ends", test_ends);
	run("streams", test_streams);
	run("call", test_call);
	run("terminal", test_terminal);
	run("relay", test_relay);
	run("leave", test_leave);
	run("come", test_come);
	run("sensor", test_sensor);
	printf("%d passed, %d failed\n", checks_passed, checks_failed);
	return checks_failed != 0;
}
