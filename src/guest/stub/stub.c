/* A scheduler's command inside the guest: srun, qsub, ... are this program under their names. It carries the call to the host (docs/protocol.md, "relay socket"). */
#define _GNU_SOURCE
#include <unistd.h>

#include "shim.h"

extern char **environ;

int main(int argc, char **argv)
{
	struct shim shim = {
		.path = "/run/caddis/relay.sock",
		.argv = argv,
		.env = environ,
		.session = 1,
		.connect_seconds = 5,
		.unreachable = "caddis: this command cannot be carried out of the job's machine",
	};
	int status;

	(void)argc;
	status = shim_run(&shim);
	return status == SHIM_UNREACHABLE ? 127 : status;
}
