/*
 * caddis-hook: what every hook and every step of a job runs on the host (docs/hooks.md). It carries and does not think: sends verb, arguments, environment and directory
 * to caddisd, prints the answer, exits with the given code; for exec it stays as the step's process.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "endpoint.h"
#include "sensor.h"

#define HOOK_CONNECT_MS 5000
/* A restart of caddisd: the service manager waits a second, then it looks at its machines. */
#define ASK_AGAIN_MS 20000
#define STEP_CONNECT_MS 60000
/* A caddisd that is being restarted, or upgraded, is back long before. */
#define COME_BACK_MS 120000

static const char usage_text[] =
	"usage: caddis-hook [--connect-timeout SECONDS] [--run DIRECTORY] VERB [ARG...]\n"
	"  exec [--scheduler NAME] [--] CMD ARG...   run CMD in the job's machine\n"
	"  prolog, epilog, facts, status, shell ...  ask caddisd\n"
	"  load-sensor [HOST]                        Grid Engine's load sensor\n";

static _Noreturn void usage(const char *what, const char *value)
{
	fprintf(stderr, "caddis-hook: %s%s\n%s", what, value, usage_text);
	_exit(STATUS_USAGE);
}

static int milliseconds(const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (*end || end == text || !(seconds >= 0 && seconds <= 86400))
		usage("--connect-timeout: expected seconds from 0 to 86400, got ", text);
	return (int)(seconds * 1000);
}

struct words {
	const char *run;
	int timeout_ms; /* -1: not given */
};

static char **options(char **a, struct words *w)
{
	for (; *a && !strncmp(*a, "--", 2); a += 2) {
		if (!a[1])
			usage("nothing after ", *a);
		if (!strcmp(*a, "--connect-timeout"))
			w->timeout_ms = milliseconds(a[1]);
		else if (!strcmp(*a, "--run"))
			w->run = a[1];
		else
			usage("unknown option ", *a);
	}
	return a;
}

/* `exec [--scheduler NAME] [--] CMD ARG...`: caddisd is told the command alone. */
static char **command(char **a)
{
	if (*a && !strcmp(*a, "--scheduler") && a[1])
		a += 2;
	if (*a && !strcmp(*a, "--"))
		a++;
	if (!*a)
		usage("exec: expected a command", "");
	return a;
}

int main(int argc, char **argv)
{
	struct client_options o = { .peer = "caddisd", .unreachable_status = STATUS_UNREACHABLE, .runs_relayed = 1 };
	struct words w = { .timeout_ms = -1 };
	const char *original = getenv("CADDIS_ARGV0"), *why;
	struct client_end end;
	char path[108];

	if (argc < 1)
		usage("started without a name", "");
	if (original) {
		/* Through SPANK's swap: these are the job's own words. */
		o.call = (struct call){ .verb = "exec", .first_arg = original, .args = argv + 1 };
	} else {
		char **a = options(argv + 1, &w);

		if (!*a || !**a)
			usage("expected a verb", "");
		if (!strcmp(*a, "load-sensor")) {
			sensor_run(endpoint_directory(w.run), a[1]);
			return 0;
		}
		o.call = (struct call){ .verb = *a, .args = strcmp(*a, "exec") ? a + 1 : command(a + 1) };
	}
	o.is_step = !strcmp(o.call.verb, "exec") || !strcmp(o.call.verb, "shell");
	o.come_back_ms = o.is_step ? COME_BACK_MS : 0;
	/* prolog, epilog and facts may be asked twice: a new caddisd ends the machine that the last one was making. */
	o.ask_again_ms = o.is_step ? 0 : w.timeout_ms >= 0 ? w.timeout_ms : ASK_AGAIN_MS;
	o.connect_timeout_ms = w.timeout_ms >= 0 ? w.timeout_ms : o.is_step ? STEP_CONNECT_MS : HOOK_CONNECT_MS;
	if (endpoint_path(endpoint_directory(w.run), o.call.verb, !o.is_step && *o.call.args, path, &why))
		usage(why, "");
	o.path = path;
	client_run(&o, &end);
	client_leave(&end);
}
