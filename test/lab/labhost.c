/*
 * A lab host: network, UTS, mount, IPC and cgroup namespaces, held by one tiny process.
 *
 *   labhost hold NAME                 makes the namespaces, says "ready" on stdout and holds them until killed
 *   labhost enter PID NAME CMD ARG... runs CMD in the namespaces that PID holds and in the cgroups of host NAME
 *
 * Both first join the host's cgroups (caddis-lab/NAME in every v1 hierarchy that has it): the sweep of `lab down`
 * finds by them whatever was ever started on a host. `enter` execs, so CMD has its caller as parent and keeps the
 * terminal. The working directory is kept where the host has it, else it is /.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

static const char *const controllers[] = {
	"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids",
};

static int die(const char *what)
{
	fprintf(stderr, "labhost: %s: %s\n", what, strerror(errno));
	return 1;
}

/* A host without a controller's directory (a kernel that lacks it) runs without it. Returns the number joined. */
static int join_cgroups(const char *name)
{
	int joined = 0;
	for (size_t i = 0; i < sizeof controllers / sizeof controllers[0]; i++) {
		char path[PATH_MAX];
		int length = snprintf(path, sizeof path, "/sys/fs/cgroup/%s/caddis-lab/%s/cgroup.procs", controllers[i], name);
		if (length < 0 || (size_t)length >= sizeof path)
			return -1;
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0)
			return -1;
		/* "0" means the writing process itself. */
		if (write(fd, "0", 1) != 1) {
			close(fd);
			return -1;
		}
		close(fd);
		joined++;
	}
	return joined;
}

static int hold(const char *name)
{
	if (join_cgroups(name) <= 0)
		return die("cannot join the host's cgroups");
	if (unshare(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWCGROUP) != 0)
		return die("unshare");
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return die("making mounts private");
	if (sethostname(name, strlen(name)) != 0)
		return die("sethostname");
	setsid();
	prctl(PR_SET_NAME, "labhost");
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	if (chdir("/") != 0)
		return die("chdir");
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		return die("saying ready");
	int null = open("/dev/null", O_RDWR);
	if (null < 0)
		return die("/dev/null");
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	for (;;)
		pause();
}

static int enter(const char *pid, const char *name, char **command)
{
	static const struct { const char *file; int type; } kinds[] = {
		{ "cgroup", CLONE_NEWCGROUP }, { "ipc", CLONE_NEWIPC }, { "uts", CLONE_NEWUTS },
		{ "net", CLONE_NEWNET }, { "mnt", CLONE_NEWNS },
	};
	enum { KINDS = sizeof kinds / sizeof kinds[0] };
	int fds[KINDS];

	for (const char *digit = pid; *digit; digit++)
		if (*digit < '0' || *digit > '9') {
			fprintf(stderr, "labhost: \"%s\" is not a process id\n", pid);
			return 2;
		}
	/* All opened before the first setns: afterwards /proc and /sys may be the host's own. */
	for (int i = 0; i < KINDS; i++) {
		char path[64];
		int length = snprintf(path, sizeof path, "/proc/%s/ns/%s", pid, kinds[i].file);
		if (length < 0 || (size_t)length >= sizeof path)
			return 2;
		fds[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (fds[i] < 0)
			return die("the host is gone; run \"npm run lab -- up\"");
	}
	char here[PATH_MAX];
	if (!getcwd(here, sizeof here))
		strcpy(here, "/");
	if (join_cgroups(name) <= 0)
		return die("cannot join the host's cgroups");
	for (int i = 0; i < KINDS; i++)
		if (setns(fds[i], kinds[i].type) != 0)
			return die(kinds[i].file);
	if (chdir(here) != 0 && chdir("/") != 0)
		return die("chdir");
	execvp(command[0], command);
	fprintf(stderr, "labhost: %s: %s\n", command[0], strerror(errno));
	return errno == ENOENT ? 127 : 126;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "hold") == 0)
		return hold(argv[2]);
	if (argc >= 5 && strcmp(argv[1], "enter") == 0)
		return enter(argv[2], argv[3], argv + 4);
	fprintf(stderr, "usage: labhost hold NAME | labhost enter PID NAME CMD [ARG...]\n");
	return 2;
}
