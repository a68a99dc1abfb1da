/*
 * subreaper CMD ARG...: runs CMD and reaps every orphan among its descendants.
 *
 * PID 1 of a container may reap slowly or never, and libvirt waits until a dead QEMU is gone, not a zombie
 * (facts/vm.md, point 1). It stays as long as any descendant lives, so that a QEMU that outlives its libvirtd is
 * still reaped. SIGTERM, SIGINT and SIGHUP are passed on to CMD.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t child;

static void pass_on(int number)
{
	if (child > 0)
		kill(child, number);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: subreaper CMD [ARG...]\n");
		return 2;
	}
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
		fprintf(stderr, "subreaper: PR_SET_CHILD_SUBREAPER: %s\n", strerror(errno));
		return 1;
	}
	struct sigaction action = { .sa_handler = pass_on, .sa_flags = SA_RESTART };
	const int passed[] = { SIGTERM, SIGINT, SIGHUP };
	for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++)
		sigaction(passed[i], &action, NULL);

	child = fork();
	if (child < 0) {
		fprintf(stderr, "subreaper: fork: %s\n", strerror(errno));
		return 1;
	}
	if (child == 0) {
		for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++)
			signal(passed[i], SIG_DFL);
		execvp(argv[1], argv + 1);
		fprintf(stderr, "subreaper: %s: %s\n", argv[1], strerror(errno));
		_exit(127);
	}

	int code = 0;
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0)
			return code;
		if (pid == child) {
			code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			child = 0;
		}
	}
}
