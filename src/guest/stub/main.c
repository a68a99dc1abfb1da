/*
 * caddis-stub: what a scheduler's command (srun, sbatch, qsub ...) is inside a job's machine. It asks the agent to have the real command run on the host, beside the step
 * that it was called in, and is that command's stdio, terminal, signals and exit status here.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>

#include "client.h"

#define RELAY_SOCKET "/run/caddis/relay.sock"
/* The agent is PID 1: it answers at once or never. */
#define CONNECT_MS 5000
/* What a shell says for a command that it cannot find. */
#define STATUS_NO_COMMAND 127

int main(int argc, char **argv)
{
	static char *const none[] = { NULL };
	struct client_options o = { .call = { .args = argc > 0 ? argv : none, .keep_caddis_variables = 1 }, .path = RELAY_SOCKET, .connect_timeout_ms = CONNECT_MS,
		.is_step = 1, .unreachable_status = STATUS_NO_COMMAND, .peer = "the machine's agent" };
	struct client_end end;

#ifdef CADDIS_TEST
	if (getenv("CADDIS_TEST_RELAY"))
		o.path = getenv("CADDIS_TEST_RELAY");
#endif
	client_run(&o, &end);
	client_leave(&end);
}
