/* Runs the client from inside slurmstepd, as root, before any task exists. */
#include "spank_caddis.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Only async-signal-safe calls: slurmstepd may have threads. */
static _Noreturn void become_client(char *const argv[], int err)
{
	sigset_t none;
	int null = open("/dev/null", O_RDWR);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (null < 0 || dup2(err, 2) < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		_exit(126);
	/* Descriptors of slurmstepd: the step's own streams among them. */
	syscall(SYS_close_range, 3U, ~0U, 0U);
	char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	execve(argv[0], argv, env);
	_exit(errno == ENOENT ? 127 : 126);
}

/* Reads until the client closes its stderr. Returns 0, or -1 (ETIMEDOUT) at the deadline. */
static int read_message(int fd, long long deadline, char *message, size_t size)
{
	size_t used = 0;
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		long long left = deadline - now_ms();
		int ready = left <= 0 ? 0 : poll(&p, 1, (int)left);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0) {
			errno = ready == 0 ? ETIMEDOUT : errno;
			return -1;
		}
		char part[512];
		ssize_t got = read(fd, part, sizeof part);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return 0;
		size_t room = size - 1 - used;
		size_t take = (size_t)got < room ? (size_t)got : room;
		memcpy(message + used, part, take);
		used += take;
		message[used] = '\0';
	}
}

int hook_run(char *const argv[], int timeout_s, char *message, size_t size)
{
	int err[2], status = 0;
	message[0] = '\0';
	if (pipe2(err, O_CLOEXEC) != 0)
		return -1;
	long long deadline = now_ms() + timeout_s * 1000LL;
	pid_t pid = fork();
	if (pid == 0)
		become_client(argv, err[1]);
	close(err[1]);
	if (pid < 0) {
		close(err[0]);
		return -1;
	}
	int rc = read_message(err[0], deadline, message, size);
	int cause = errno;
	close(err[0]);
	if (rc != 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	if (rc != 0) {
		errno = cause;
		return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
