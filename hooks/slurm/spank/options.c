/* --vm=on|off and --vm-checkpoint=INTERVAL, for users of sbatch, salloc and srun. caddisd checks what reaches it again: a user may set the variables by hand. */
#include "spank_caddis.h"

#include <stdlib.h>
#include <string.h>

struct options options;

static bool is_interval(const char *text)
{
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 6)
		return false;
	const char *unit = text + digits;
	return *unit == '\0' || (strchr("smh", *unit) && unit[1] == '\0');
}

static int take(char **to, const char *value)
{
	char *copy = strdup(value);
	if (!copy)
		return -1;
	free(*to);
	*to = copy;
	return 0;
}

static int take_vm(int val, const char *value, int remote)
{
	(void)val;
	(void)remote;
	if (!value || (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)) {
		slurm_error("--vm=%s: expected on or off", value ? value : "");
		return -1;
	}
	return take(&options.vm, value);
}

static int take_checkpoint(int val, const char *value, int remote)
{
	(void)val;
	(void)remote;
	if (!value || !is_interval(value)) {
		slurm_error("--vm-checkpoint=%s: expected a time such as 90s, 30m or 2h", value ? value : "");
		return -1;
	}
	return take(&options.checkpoint, value);
}

static struct spank_option vm = {
	"vm", "on|off", "[caddis] run the job in a virtual machine of its own (where the partition leaves the choice)", 1, 0, take_vm,
};
static struct spank_option checkpoint = {
	"vm-checkpoint", "interval", "[caddis] save the job's machine this often, e.g. 30m", 1, 0, take_checkpoint,
};

int options_register(spank_t sp)
{
	spank_err_t rc = spank_option_register(sp, &vm);
	return rc == ESPANK_SUCCESS ? (int)spank_option_register(sp, &checkpoint) : (int)rc;
}
