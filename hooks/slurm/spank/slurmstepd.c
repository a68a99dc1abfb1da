/*
 * In slurmstepd. What decides is /run/caddis/jobs/slurm-JOBID, which only root can make:
 *   absent          the job has no machine (native partition, --vm=off): its tasks are left alone. slurmd may have left out the prolog of a job that
 *                   was started again, so that caddisd is asked before the batch script (nothing in here knows the restart count: S_SLURM_RESTART_COUNT is 0)
 *   symbolic link   to the machine's directory: tasks run in it
 *   plain file      no machine could be made; holds the reason: tasks fail with it
 * Nothing here runs a task outside of a machine that should be in one: every failure ends the step with its reason in the task's own stderr.
 */
#include "spank_caddis.h"

#include <errno.h>
#include <fcntl.h>
#include <slurm/slurm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum { NATIVE, MACHINE, REFUSED } mode = NATIVE;
/* Why tasks are refused. */
static char reason[1024];
static char key[32];
/* What caddisd has to say to the user of a batch job, before its script starts. */
static char news[1024];

static void refuse(const char *format, const char *detail)
{
	mode = REFUSED;
	snprintf(reason, sizeof reason, format, detail);
	reason[strcspn(reason, "\n")] = '\0';
	slurm_error("%s", reason);
}

static void read_reason(const char *path)
{
	char text[sizeof reason] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0) {
		ssize_t got = read(fd, text, sizeof text - 1);
		text[got > 0 ? got : 0] = '\0';
		close(fd);
	}
	refuse("%s", text[0] ? text : "caddis: no machine for this job");
}

/* Number of CPUs of the job on this node: a step that has fewer says nothing of the machine, so cores of the job are sent too. */
static void send_facts(spank_t sp, const struct plugin_args *args, uint32_t job, uint32_t step, bool unheralded)
{
	uint64_t memory_mb = 0;
	uint32_t restarts = 0;
	uint16_t cpus = 0;
	char *cores = NULL;
	char id[16], memory[48], cpu_count[32], restart[32], core_list[512], choice[8], message[512];
	if (spank_get_item(sp, S_JOB_ALLOC_MEM, &memory_mb) != ESPANK_SUCCESS ||
	    spank_get_item(sp, S_JOB_NCPUS, &cpus) != ESPANK_SUCCESS ||
	    spank_get_item(sp, S_SLURM_RESTART_COUNT, &restarts) != ESPANK_SUCCESS ||
	    spank_get_item(sp, S_JOB_ALLOC_CORES, &cores) != ESPANK_SUCCESS) {
		refuse("caddis: %s", "slurmstepd does not say what this job has on this node");
		return;
	}
	snprintf(id, sizeof id, "%u", job);
	snprintf(memory, sizeof memory, "memory_mb=%llu", (unsigned long long)memory_mb);
	snprintf(cpu_count, sizeof cpu_count, "cpus=%u", cpus);
	snprintf(restart, sizeof restart, "restart=%u", restarts);
	int length = snprintf(core_list, sizeof core_list, "cores=%s", cores ? cores : "");
	/* A list cut in the middle would be a wrong number: none is better. */
	if (length < 0 || (size_t)length >= sizeof core_list)
		strcpy(core_list, "cores=");
	snprintf(choice, sizeof choice, "vm=%s", options.vm ? options.vm : "");
	char *const argv[] = { (char *)args->hook, "facts", "slurm", id, memory, cpu_count, core_list, restart,
			       unheralded ? "prolog=missed" : NULL, choice, NULL };
	int status = hook_run(argv, args->facts_timeout_s, message, sizeof message);
	if (status == 0) {
		if (step == SLURM_BATCH_SCRIPT)
			snprintf(news, sizeof news, "%s", message);
		return;
	}
	if (status < 0)
		refuse("caddis: telling caddisd the size of this job failed: %s", strerror(errno));
	else if (message[0])
		refuse("%s", message);
	else if (status == 69)
		refuse("%s", "caddis: caddisd does not answer on this node");
	else
		refuse("caddis: %s failed", args->hook);
}

int slurmstepd_init_post_opt(spank_t sp, const struct plugin_args *args)
{
	uint32_t job, step;
	char path[256];
	struct stat st;
	if (spank_get_item(sp, S_JOB_ID, &job) != ESPANK_SUCCESS || spank_get_item(sp, S_JOB_STEPID, &step) != ESPANK_SUCCESS)
		return ESPANK_ERROR;
	if (step == SLURM_EXTERN_CONT)
		return ESPANK_SUCCESS;
	snprintf(key, sizeof key, "slurm-%u", job);
	snprintf(path, sizeof path, "%s/jobs/%s", args->run, key);
	if (lstat(path, &st) != 0 && errno == ENOENT && step == SLURM_BATCH_SCRIPT) {
		send_facts(sp, args, job, step, true);
		if (mode == REFUSED)
			return ESPANK_SUCCESS;
	}
	if (lstat(path, &st) != 0) {
		if (errno != ENOENT)
			refuse("caddis: cannot see whether this job has a machine: %s", strerror(errno));
		return ESPANK_SUCCESS;
	}
	if (S_ISREG(st.st_mode)) {
		read_reason(path);
		return ESPANK_SUCCESS;
	}
	mode = MACHINE;
	send_facts(sp, args, job, step, false);
	return ESPANK_SUCCESS;
}

/*
 * The task's stderr is in place: what is written here is where the user looks. Exits, because Slurm 22.05 runs the task all the same when a required
 * plugin's task_init returns ESPANK_ERROR (3000: it looks for a negative number).
 */
static _Noreturn void fail_task(const char *why)
{
	dprintf(STDERR_FILENO, "%s\n", why);
	_exit(1);
}

/* --mpi, SLURM_MPI_TYPE or MpiDefault: a socket or descriptor of slurmstepd's, which no program in a machine can reach. */
static void refuse_mpi(spank_t sp)
{
	char type[32];
	if (spank_getenv(sp, "SLURM_MPI_TYPE", type, sizeof type) != ESPANK_SUCCESS || strcmp(type, "none") == 0)
		return;
	snprintf(reason, sizeof reason,
		 "caddis: srun --mpi=%s cannot run in a job's machine: its tasks would talk to slurmstepd on the host; use --mpi=none with mpirun, or a partition without machines",
		 type);
	fail_task(reason);
}

int slurmstepd_task_init(spank_t sp, const struct plugin_args *args)
{
	int argc = 0;
	char **argv = NULL;
	char container[8]; /* whether there is one is all that counts */
	if (mode == NATIVE)
		return ESPANK_SUCCESS;
	if (mode == REFUSED)
		fail_task(reason);
	if (news[0])
		dprintf(STDERR_FILENO, "%s%s", news, news[strlen(news) - 1] == '\n' ? "" : "\n");
	if (args->refuse_mpi)
		refuse_mpi(sp);
	if (spank_setenv(sp, "CADDIS_KEY", key, 1) != ESPANK_SUCCESS)
		fail_task("caddis: cannot set CADDIS_KEY");
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(23, 11, 0)
	const char *front[] = { args->hook, "exec", "--scheduler", "slurm", "--" };
	if (spank_prepend_task_argv(sp, 5, front) != ESPANK_SUCCESS)
		fail_task("caddis: cannot put the client in front of this task");
	(void)argc;
	(void)argv;
#else
	if (spank_get_item(sp, S_JOB_ARGV, &argc, &argv) != ESPANK_SUCCESS || argc < 1 || !argv || !argv[0])
		fail_task("caddis: slurmstepd gives no command for this task");
	if (spank_getenv(sp, "SLURM_CONTAINER", container, sizeof container) != ESPANK_ENV_NOEXIST)
		fail_task("caddis: --container cannot run in a job's machine: the runtime would start on the host, around the client; use a partition without machines");
	if (is_multi_prog(argc, argv))
		fail_task("caddis: srun --multi-prog cannot run in a job's machine under Slurm < 23.11: start each program with an srun of its own");
	if (spank_setenv(sp, "CADDIS_ARGV0", argv[0], 1) != ESPANK_SUCCESS)
		fail_task("caddis: cannot set CADDIS_ARGV0");
	/* The live array, in the child that becomes the task: TaskProlog, TMPDIR and rlimits come after this, so no exec here. */
	argv[0] = strdup(args->hook);
	if (!argv[0])
		fail_task("caddis: out of memory");
#endif
	return ESPANK_SUCCESS;
}
