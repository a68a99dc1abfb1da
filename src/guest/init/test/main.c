#include "check.h"

#include <stdio.h>
#include <stdlib.h>

int checks_passed, checks_failed;
static uint64_t state = 1;

int check_(int ok, const char *file, int line, const char *what)
{
	if (ok) {
		checks_passed++;
		return 1;
	}
	checks_failed++;
	printf("FAILED %s:%d: %s\n", file, line, what);
	return 0;
}

uint64_t any(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 2685821657736338717u;
}

int main(int argc, char **argv)
{
	const char *seed = getenv("CADDIS_TEST_SEED");

	if (argc != 3) {
		fprintf(stderr, "usage: init-test AGENT GOLDEN\n");
		return 64;
	}
	if (seed)
		state = strtoull(seed, NULL, 10) | 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_frames(argv[2]);
	test_documents();
	test_fuzz(argv[1]);
	test_freeze(argv[1]);
	test_sessions(argv[1]);
	printf("%d passed, %d failed\n", checks_passed, checks_failed);
	return checks_failed ? 1 : 0;
}
