/* Starting one program from an OPEN document. */
#ifndef CADDIS_START_H
#define CADDIS_START_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "scope.h"

/* What a child says through its report pipe when it could not get to its program. */
struct start_failure {
	int32_t error; /* errno */
	char what[508]; /* `execve(): /no/such`: the call and its subject */
};

struct started {
	pid_t pid;
	int report; /* read end: end of file = the program runs; else a struct start_failure */
	int in, out, err; /* our ends, non-blocking; -1 where there is none. A pty has in == -1 and out == its master. */
	int tty;
	int merged; /* stderr goes to stdout */
	uint64_t limit_bytes; /* NOTE */
	char limit_origin[128];
};

/*
 * Forks and begins to execute what `document` says. Returns 0 with `s` filled, or -1 with `failure` filled. The child moves into `scope`; `guest` = 1 makes it an
 * ordinary prey of the OOM killer again (the agent itself is exempt).
 */
int start_program(const uint8_t *document, size_t length, const struct scope *scope, int guest, struct started *s,
	struct start_failure *failure);

#endif
