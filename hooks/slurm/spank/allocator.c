/* In sbatch, salloc and srun: what the user asked becomes SPANK_CADDIS_VM and SPANK_CADDIS_CHECKPOINT of prolog and epilog. */
#include "spank_caddis.h"

static int hand_over(spank_t sp, const char *name, const char *value)
{
	return value ? (int)spank_job_control_setenv(sp, name, value, 1) : ESPANK_SUCCESS;
}

int allocator_init_post_opt(spank_t sp)
{
	int rc = hand_over(sp, "CADDIS_VM", options.vm);
	return rc == ESPANK_SUCCESS ? hand_over(sp, "CADDIS_CHECKPOINT", options.checkpoint) : rc;
}
