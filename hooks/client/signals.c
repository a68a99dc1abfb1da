#define _GNU_SOURCE
#include "signals.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

static sigset_t ignored;

int signals_open(void)
{
	sigset_t all;

	sigemptyset(&ignored);
	for (int i = 1; i < 65; i++) {
		struct sigaction was;

		if (!sigaction(i, NULL, &was) && was.sa_handler == SIG_IGN)
			sigaddset(&ignored, i);
	}
	/* SIGCHLD ignored would take the exit statuses of relayed commands away. */
	signal(SIGCHLD, SIG_DFL);
	sigdelset(&ignored, SIGCHLD);
	/* Faults kill also when blocked; sent by kill(1) they are forwarded as any other signal. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	return signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
}

int signals_take(int fd)
{
	struct signalfd_siginfo info;

	for (;;) {
		ssize_t n = read(fd, &info, sizeof info);

		if (n != (ssize_t)sizeof info) {
			if (n < 0 && errno == EINTR)
				continue;
			return 0;
		}
		if (sigismember(&ignored, (int)info.ssi_signo) != 1)
			return (int)info.ssi_signo;
	}
}

_Noreturn void signals_die(int number)
{
	struct rlimit none = { 0, 0 };
	struct sigaction normal = { .sa_handler = SIG_DFL };
	sigset_t one;

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
	sigaction(number, &normal, NULL);
	sigemptyset(&one);
	sigaddset(&one, number);
	kill(getpid(), number);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	_exit(128 + number);
}
