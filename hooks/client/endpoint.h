/* Where caddisd listens for this call (docs/hooks.md). */
#ifndef CADDIS_ENDPOINT_H
#define CADDIS_ENDPOINT_H

/* The directory to use: `wanted` (--run; NULL: none), else $CADDIS_RUN if it is safe to believe, else /run/caddis. */
const char *endpoint_directory(const char *wanted);
/*
 * Writes the socket's path for `verb`: a job's own socket for exec and the control verbs, and for shell when CADDIS_KEY names a job; else the root hooks'. So
 * too for a control verb whose argument names the job (`names_job`) where the environment names none: an admin asks. 0, or -1 with `why` set to a sentence for the
 * user.
 */
int endpoint_path(const char *directory, const char *verb, int names_job, char path[108], const char **why);

#endif
