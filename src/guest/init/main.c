/*
 * caddis-init: PID 1 of a job's machine. `caddis-init --agent DIR` is the same agent without the machine, listening on DIR/ctl and DIR/bulk as QEMU would, for tests.
 * Run by the kernel as `... -q -- MODULE` it is modprobe.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agent.h"
#include "boot.h"
#include "modprobe.h"
#include "oom.h"
#include "relay.h"

static int run_agent(const char *directory)
{
	char socket[200];
	static struct agent a; /* for the life of the process */

	if (agent_init(&a, 0) || link_listen(&a.link, directory)) {
		fprintf(stderr, "caddis-init: cannot listen in %s: %s\n", directory, strerror(errno));
		return 1;
	}
	snprintf(socket, sizeof socket, "%s/relay.sock", directory);
	a.relay = relay_new(&a.link, socket);
	if (!a.relay) {
		fprintf(stderr, "caddis-init: cannot listen on %s: %s\n", socket, strerror(errno));
		return 1;
	}
	agent_run(&a);
	processes_free(a.processes);
	return 0;
}

static int run_guest(void)
{
	struct agent a;
	int ports[PORTS];

	/* The kernel calls it `init`, after its file. */
	prctl(PR_SET_NAME, "caddis-init");
	boot_machine();
	oom_prepare();
	if (agent_init(&a, 1)) {
		kernel_log_write(0, "out of memory at the start: the machine is too small");
		return 1;
	}
	a.kernel_log = kernel_log_open();
	if (boot_ports(ports)) {
		kernel_log_write(0, "no virtio-serial ports caddis.ctl and caddis.bulk: this is no Caddis machine");
		return 1;
	}
	link_use(&a.link, PORT_CTL, ports[PORT_CTL]);
	link_use(&a.link, PORT_BULK, ports[PORT_BULK]);
	agent_run(&a);
	return 1;
}

int main(int argc, char **argv)
{
	if (getpid() == 1)
		return run_guest();
	if (argc == 3 && !strcmp(argv[1], "--agent"))
		return run_agent(argv[2]);
	if (argc >= 3 && !strcmp(argv[1], "-q"))
		return modprobe(argv[argc - 1]);
	fprintf(stderr, "usage: caddis-init --agent DIR (PID 1 of a Caddis machine otherwise)\n");
	return 64;
}
