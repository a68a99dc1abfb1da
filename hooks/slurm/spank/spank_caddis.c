/*
 * Runs every task of a job in the job's machine: puts `caddis-hook` in front of it. This file only sends Slurm's calls to the context they are for.
 *
 *   sbatch, salloc, srun   allocator.c    --vm and --vm-checkpoint reach prolog and epilog
 *   slurmstepd             slurmstepd.c   the job's size reaches caddisd; argv[0] is swapped
 */
#include "spank_caddis.h"

#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

#pragma GCC visibility push(default)
SPANK_PLUGIN(caddis, 1)
#pragma GCC visibility pop

static struct plugin_args args = { "/usr/sbin/caddis-hook", "/run/caddis", 120, true };

static int set_path(char *to, size_t size, const char *path)
{
	if (path[0] != '/' || strlen(path) >= size) {
		slurm_error("caddis: plugstack.conf: \"%s\" is no absolute path of less than %zu bytes", path, size);
		return -1;
	}
	strcpy(to, path);
	return 0;
}

int plugin_args_parse(struct plugin_args *out, int ac, char **av)
{
	for (int i = 0; i < ac; i++) {
		if (strncmp(av[i], "hook=", 5) == 0) {
			if (set_path(out->hook, sizeof out->hook, av[i] + 5) != 0)
				return -1;
		} else if (strncmp(av[i], "run=", 4) == 0) {
			if (set_path(out->run, sizeof out->run, av[i] + 4) != 0)
				return -1;
		} else if (strncmp(av[i], "facts_timeout=", 14) == 0) {
			char *end;
			long seconds = strtol(av[i] + 14, &end, 10);
			if (*end != '\0' || seconds < 1 || seconds > 3600) {
				slurm_error("caddis: plugstack.conf: %s: expected 1 to 3600 seconds", av[i]);
				return -1;
			}
			out->facts_timeout_s = (int)seconds;
		} else if (strcmp(av[i], "mpi=refuse") == 0 || strcmp(av[i], "mpi=ignore") == 0) {
			out->refuse_mpi = av[i][4] == 'r';
		} else {
			slurm_error("caddis: plugstack.conf: unknown argument \"%s\": expected hook=, run=, facts_timeout= or mpi=refuse|ignore", av[i]);
			return -1;
		}
	}
	return 0;
}

EXPORTED int slurm_spank_init(spank_t sp, int ac, char **av)
{
	if (plugin_args_parse(&args, ac, av) != 0)
		return ESPANK_ERROR;
	switch (spank_context()) {
	case S_CTX_LOCAL:
	case S_CTX_ALLOCATOR:
	case S_CTX_REMOTE:
		return options_register(sp);
	default:
		return ESPANK_SUCCESS;
	}
}

EXPORTED int slurm_spank_init_post_opt(spank_t sp, int ac, char **av)
{
	(void)ac;
	(void)av;
	switch (spank_context()) {
	case S_CTX_LOCAL:
	case S_CTX_ALLOCATOR:
		return allocator_init_post_opt(sp);
	case S_CTX_REMOTE:
		return slurmstepd_init_post_opt(sp, &args);
	default:
		return ESPANK_SUCCESS;
	}
}

EXPORTED int slurm_spank_task_init(spank_t sp, int ac, char **av)
{
	(void)ac;
	(void)av;
	return slurmstepd_task_init(sp, &args);
}
