/* What the plugin's contexts share. One file per context, as in pyxis: allocator.c (sbatch, salloc, srun), slurmstepd.c. */
#pragma once

#include <slurm/spank.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Arguments of the plugin's line in plugstack.conf. */
struct plugin_args {
	char hook[256];		/* hook=PATH: the client, /usr/sbin/caddis-hook */
	char run[128];		/* run=DIR: caddisd's runtime directory, /run/caddis */
	int facts_timeout_s;	/* facts_timeout=SECONDS: bound on telling caddisd the job's size, 120 */
	bool refuse_mpi;	/* mpi=refuse|ignore: steps whose tasks would talk to slurmstepd by PMI, refuse */
};
/* Returns 0, or -1 after logging the argument that is wrong. */
int plugin_args_parse(struct plugin_args *args, int ac, char **av);

/* The options that users give; NULL = not given. */
struct options {
	char *vm;		/* --vm=on|off */
	char *checkpoint;	/* --vm-checkpoint=INTERVAL */
};
extern struct options options;
int options_register(spank_t sp);

/* sbatch, salloc, srun: hands the options to prolog and epilog. */
int allocator_init_post_opt(spank_t sp);

/* slurmstepd, as root, once per step and node: is there a machine, and does it have the job's size? */
int slurmstepd_init_post_opt(spank_t sp, const struct plugin_args *args);
/* slurmstepd's child, as the user, before it becomes the task: puts the client in front. */
int slurmstepd_task_init(spank_t sp, const struct plugin_args *args);

/* True if a step of these arguments is an `srun --multi-prog`. */
bool is_multi_prog(int argc, char **argv);

/*
 * Runs the client with argv as root and waits at most timeout_s seconds. Returns its exit status; 128 + signal if it was killed; -1 with errno set if it
 * could not be started or took too long. What it wrote to stderr goes, bounded and terminated, into message.
 */
int hook_run(char *const argv[], int timeout_s, char *message, size_t size);
