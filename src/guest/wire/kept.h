/*
 * Output that was kept aside while its session was saved: the scheduler truncates a job's files when it starts the job again. The shim puts it back, as the user, into
 * the file that its descriptor has open now. What is kept where comes in a RESUME document.
 */
#ifndef CADDIS_KEPT_H
#define CADDIS_KEPT_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

/* As `length`, and as a position: none. */
#define KEPT_NONE UINT64_MAX

struct kept {
	uint64_t delivered; /* position of the stream */
	uint64_t length; /* bytes of the file that belong to the output: where the stream stands in it */
	char path[PATH_MAX]; /* empty: nothing is kept */
};

/* Reads the KEPTs of a document for streams 1 and 2; what is not named there begins at 0 with nothing kept. NULL, or what is wrong with it. */
const char *kept_parse(const uint8_t *document, size_t length, struct kept kept[2]);
/*
 * Puts what is kept into the regular file open at `fd`, unless it holds that much already, makes it durable, lets the descriptor stand behind it and removes the kept file.
 * 0, or -1 with `why` (the kept file stays; the descriptor stands behind what the file holds).
 */
int kept_restore(const struct kept *k, int fd, char why[256]);

#endif
