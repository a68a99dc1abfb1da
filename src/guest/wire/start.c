#define _GNU_SOURCE
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include "frame.h"
#include "spec.h"

struct ends {
	int in[2], out[2], err[2]; /* [0] the child's, [1] ours */
	int report[2]; /* [0] read, [1] write */
};

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void shut_all(struct ends *e)
{
	for (int i = 0; i < 2; i++) {
		shut(&e->in[i]);
		shut(&e->out[i]);
		shut(&e->err[i]);
		shut(&e->report[i]);
	}
}

static int failed(struct start_failure *f, const char *call, const char *subject)
{
	f->error = errno;
	snprintf(f->what, sizeof f->what, "%s(): %s", call, subject);
	return -1;
}

/* The user may reopen /dev/stdout and /dev/stderr, so the pipes belong to the user. */
static int make_pipe(int ends[2], int child_reads, const struct spec *s)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC))
		return -1;
	ends[0] = p[child_reads ? 0 : 1];
	ends[1] = p[child_reads ? 1 : 0];
	fcntl(ends[1], F_SETFL, O_NONBLOCK);
	/* The window's size: fewer turns between a writer and us. Refused beyond the user's share of pipe pages: then it stays as it is. */
	fcntl(ends[1], F_SETPIPE_SZ, (int)STREAM_WINDOW);
	if (s->has_uid && fchown(ends[0], s->uid, s->has_gid ? s->gid : (gid_t)-1) && errno != EPERM)
		return -1;
	return 0;
}

static int make_pty(struct ends *e, const struct spec *s)
{
	char *name;
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

	e->out[1] = master;
	if (master < 0 || grantpt(master) || unlockpt(master) || !(name = ptsname(master)))
		return -1;
	e->out[0] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (e->out[0] < 0)
		return -1;
	if (s->has_uid && geteuid() == 0 && (fchown(e->out[0], s->uid, (gid_t)-1) || fchmod(e->out[0], 0620)))
		return -1;
	if (s->has_termios)
		tcsetattr(e->out[0], TCSANOW, &s->termios);
	ioctl(master, TIOCSWINSZ, &s->size);
	return 0;
}

static int make_ends(struct ends *e, const struct spec *s)
{
	if (pipe2(e->report, O_CLOEXEC))
		return -1;
	fcntl(e->report[0], F_SETFL, O_NONBLOCK);
	if (s->tty)
		return make_pty(e, s);
	if (s->stdin_null)
		e->in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	else if (make_pipe(e->in, 1, s))
		return -1;
	if (e->in[0] < 0 || make_pipe(e->out, 0, s))
		return -1;
	return s->merge ? 0 : make_pipe(e->err, 0, s);
}

/* dup2 clears close-on-exec, except onto itself; ends below 3 are first moved out of the way. */
static int put_stdio(struct ends *e, const struct spec *s)
{
	int from[3] = { s->tty ? e->out[0] : e->in[0], e->out[0], s->tty || s->merge ? e->out[0] : e->err[0] };

	for (int i = 0; i < 3; i++)
		if (from[i] < 3 && (from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 3)) < 0)
			return -1;
	if (e->report[1] < 3 && (e->report[1] = fcntl(e->report[1], F_DUPFD_CLOEXEC, 3)) < 0)
		return -1;
	for (int i = 0; i < 3; i++)
		if (dup2(from[i], i) < 0)
			return -1;
	return s->tty ? ioctl(0, TIOCSCTTY, 0) : 0;
}

static void make_parents(char *path)
{
	for (char *p = path + 1; *p; p++)
		if (*p == '/') {
			*p = 0;
			mkdir(path, 0755);
			*p = '/';
		}
}

/* A new file beside the old one, renamed last: a link that someone left at the path is replaced, never followed. */
static int write_new(const struct spec_file *f)
{
	char beside[4096];
	size_t done = 0;
	int fd, n = snprintf(beside, sizeof beside, "%s.caddis-%d", f->path, (int)getpid());

	if (n < 0 || (size_t)n >= sizeof beside) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	while (done < f->length) {
		ssize_t w = write(fd, f->content + done, f->length - done);

		if (w < 0 && errno != EINTR)
			break;
		done += w > 0 ? (size_t)w : 0;
	}
	if (done == f->length && (geteuid() != 0 || !fchown(fd, f->uid, f->gid)) && !fchmod(fd, f->mode & 07777) && !rename(beside, f->path)) {
		close(fd);
		return 0;
	}
	n = errno;
	unlink(beside);
	close(fd);
	errno = n;
	return -1;
}

static int write_file(const struct spec_file *f)
{
	make_parents(f->path);
	if (write_new(f) == 0)
		return 0;
	/* On a network file system root may be nobody: then the owner can write where root cannot. */
	if (errno != EACCES && errno != EPERM)
		return -1;
	setfsgid(f->gid);
	setfsuid(f->uid);
	int result = write_new(f), error = errno;
	setfsuid(geteuid());
	setfsgid(getegid());
	errno = error;
	return result;
}

/* By the user itself, so that a path outside of what is the user's own gives nothing. An earlier step of the job has made it: good. */
static int make_directory(const struct spec_file *d)
{
	if (mkdir(d->path, 0700))
		return errno == EEXIST ? 0 : -1;
	return chmod(d->path, d->mode & 07777);
}

static void set_limits(const struct spec *s)
{
	for (size_t i = 0; i < s->rlimit_count; i++) {
		struct rlimit want = s->rlimits[i].limit, have;

		if (getrlimit(s->rlimits[i].resource, &have))
			continue;
		if (setrlimit(s->rlimits[i].resource, &want) == 0 || errno != EPERM)
			continue;
		/* Without privilege limits only go down. */
		if (want.rlim_max > have.rlim_max)
			want.rlim_max = have.rlim_max;
		if (want.rlim_cur > want.rlim_max)
			want.rlim_cur = want.rlim_max;
		setrlimit(s->rlimits[i].resource, &want);
	}
}

static int become_user(const struct spec *s)
{
	if (geteuid() == 0) {
		if (s->has_uid && setgroups(s->group_count, s->groups))
			return -1;
		if (s->has_gid && setresgid(s->gid, s->gid, s->gid))
			return -1;
		return s->has_uid ? setresuid(s->uid, s->uid, s->uid) : 0;
	}
	if ((s->has_uid && s->uid != geteuid()) || (s->has_gid && s->gid != getegid())) {
		errno = EPERM;
		return -1;
	}
	return 0;
}

static void run_script_by_shell(char **argv, char **envp, const char *path)
{
	size_t n = 0;
	char **with;

	while (argv[n])
		n++;
	with = calloc(n + 2, sizeof *with);
	if (!with)
		return;
	with[0] = "/bin/sh";
	with[1] = (char *)(uintptr_t)path;
	for (size_t i = 1; i < n; i++)
		with[i + 1] = argv[i];
	execve("/bin/sh", with, envp);
}

/* As execvp(3), but along the PATH that the program is going to have. Returns only on failure, with errno. */
static void search_and_execute(const struct spec *s, const char *program)
{
	const char *path = "/usr/local/bin:/bin:/usr/bin";
	int denied = 0;
	char full[4096];

	for (char **e = s->envp; *e; e++)
		if (!strncmp(*e, "PATH=", 5))
			path = *e + 5;
	for (const char *p = path;; p++) {
		size_t n = strcspn(p, ":");

		if (snprintf(full, sizeof full, "%.*s%s%s", (int)n, p, n ? "/" : "", program) < (int)sizeof full) {
			execve(full, s->argv, s->envp);
			if (errno == ENOEXEC) {
				run_script_by_shell(s->argv, s->envp, full);
				return;
			}
			if (errno == EACCES)
				denied = 1;
			else if (errno != ENOENT && errno != ENOTDIR)
				return;
		}
		p += n;
		if (!*p)
			break;
	}
	errno = denied ? EACCES : ENOENT;
}

/* Where slurmstepd would find it (build_path in its task.c): along the job's PATH, or from here if it begins with a dot; what is nowhere stays as it is. */
static const char *first_there(const struct spec *s, const char *program, char *full, size_t size)
{
	const char *path = NULL;
	struct stat st;
	size_t n;

	for (char **e = s->envp; *e && !path; e++)
		if (!strncmp(*e, "PATH=", 5))
			path = *e + 5;
	if (*program == '/' || !path)
		return program;
	if (*program == '.') {
		char here[4096];

		return getcwd(here, sizeof here) && snprintf(full, size, "%s/%s", here, program) < (int)size ? full : program;
	}
	for (; *(path += strspn(path, ":")); path += n) {
		n = strcspn(path, ":");
		if (snprintf(full, size, "%.*s/%s", (int)n, path, program) < (int)size && stat(full, &st) == 0 && !S_ISDIR(st.st_mode))
			return full;
	}
	return program;
}

/* A script that is there and cannot be found is one whose interpreter is not there: named as slurmstepd does. */
static void name_interpreter(const char *program, struct start_failure *f)
{
	char head[256];
	ssize_t n;
	int fd = open(program, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	n = read(fd, head, sizeof head - 1);
	close(fd);
	if (n < 3 || head[0] != '#' || head[1] != '!')
		return;
	head[n] = 0;
	head[strcspn(head, "\n")] = 0;
	snprintf(f->what, sizeof f->what, "execve(): bad interpreter(%s)", head + 2);
}

static void execute_first(const struct spec *s, const char *program, struct start_failure *f)
{
	char full[4096];

	s->argv[0] = (char *)(uintptr_t)first_there(s, program, full, sizeof full);
	execve(s->argv[0], s->argv, s->envp);
	failed(f, "execve", s->argv[0]);
	if (f->error == ENOENT)
		name_interpreter(s->argv[0], f);
}

/* Returns 0 after saying so where the user looks, as slurmstepd does; -1 with errno as it was if there is no other place. */
static int go_elsewhere(const struct spec *s)
{
	int error = errno;

	if (!s->cwd_else_prefix || chdir(s->cwd_else)) {
		errno = error;
		return -1;
	}
	dprintf(2, "%scouldn't chdir to `%s': %s: going to %s instead\n", s->cwd_else_prefix, s->cwd, strerror(error), s->cwd_else);
	return 0;
}

static void execute(const struct spec *s, struct start_failure *f)
{
	const char *program = s->program ? s->program : s->argv[0];

	if (s->path_search == SEARCH_FIRST) {
		execute_first(s, program, f);
		return;
	}
	if (s->path_search && !strchr(program, '/')) {
		search_and_execute(s, program);
	} else {
		execve(program, s->argv, s->envp);
		if (errno == ENOEXEC && s->path_search)
			run_script_by_shell(s->argv, s->envp, program);
	}
	failed(f, "execve", program);
}

static void reset_signals(void)
{
	struct sigaction normal = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int i = 1; i < 65; i++)
		if (i != SIGKILL && i != SIGSTOP)
			sigaction(i, &normal, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void become_prey(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "0", 1) < 0) { /* then it is as well protected as the agent; the session's limit still holds */
	}
	close(fd);
}

static void child(struct ends *e, const struct spec *s, const struct scope *scope, int guest, struct start_failure *f)
{
	reset_signals();
	setsid();
	if (guest)
		become_prey();
	if (scope_enter(scope)) {
		failed(f, "cgroup", scope->path);
		return;
	}
	if (put_stdio(e, s)) {
		failed(f, "stdio", s->tty ? "terminal" : "pipes");
		return;
	}
	for (size_t i = 0; i < s->file_count; i++)
		if (!S_ISDIR(s->files[i].mode) && write_file(&s->files[i])) {
			failed(f, "write", s->files[i].path);
			return;
		}
	if (s->has_cpus)
		sched_setaffinity(0, sizeof s->cpus, &s->cpus);
	if (s->has_nice)
		setpriority(PRIO_PROCESS, 0, s->nice);
	set_limits(s);
	if (become_user(s)) {
		failed(f, "setuid", "the job's user");
		return;
	}
	for (size_t i = 0; i < s->file_count; i++)
		if (S_ISDIR(s->files[i].mode) && make_directory(&s->files[i])) {
			failed(f, "mkdir", s->files[i].path);
			return;
		}
	umask(s->umask);
	if (s->cwd && chdir(s->cwd) && go_elsewhere(s)) {
		failed(f, "chdir", s->cwd);
		return;
	}
	execute(s, f);
}

static void take(int *to, int *from)
{
	*to = *from;
	*from = -1;
}

int start_program(const uint8_t *document, size_t length, const struct scope *scope, int guest, struct started *s,
	struct start_failure *failure)
{
	struct ends e = { { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 } };
	struct spec spec;
	const char *why;

	memset(failure, 0, sizeof *failure);
	if (spec_parse(&spec, document, length, &why)) {
		errno = EINVAL;
		return failed(failure, "OPEN", why);
	}
	if (make_ends(&e, &spec)) {
		failed(failure, "stdio", spec.tty ? "terminal" : "pipes");
		goto fail;
	}
	memset(s, 0, sizeof *s);
	s->pid = fork();
	if (s->pid < 0) {
		failed(failure, "fork", spec.argv[0]);
		goto fail;
	}
	if (s->pid == 0) {
		child(&e, &spec, scope, guest, failure);
		ssize_t told = write(e.report[1], failure, sizeof *failure);

		_exit(told > 0 ? 127 : 126);
	}
	s->tty = spec.tty;
	s->merged = spec.merge || spec.tty;
	s->limit_bytes = spec.limit_bytes;
	memcpy(s->limit_origin, spec.limit_origin, sizeof s->limit_origin);
	take(&s->report, &e.report[0]);
	take(&s->in, &e.in[1]);
	take(&s->out, &e.out[1]);
	take(&s->err, &e.err[1]);
	shut_all(&e);
	spec_free(&spec);
	return 0;
fail:
	shut_all(&e);
	spec_free(&spec);
	return -1;
}
