#include "freeze.h"

#include <stdio.h>
#include <string.h>

#include "file.h"

static int write_state(const struct freezer *f, int frozen)
{
	char path[192];

	if (!f->group)
		return 0;
	snprintf(path, sizeof path, "%s/cgroup.freeze", f->group);
	return file_write(path, frozen ? "1" : "0");
}

int freezer_set(struct freezer *f, enum freeze_reason reason, int on)
{
	unsigned reasons = on ? f->reasons | reason : f->reasons & ~(unsigned)reason;

	if (!reasons != !f->reasons && write_state(f, reasons != 0))
		return -1;
	f->reasons = reasons;
	return 0;
}

int freezer_still(const struct freezer *f)
{
	char path[192], text[256];

	if (!f->group)
		return 1;
	snprintf(path, sizeof path, "%s/cgroup.events", f->group);
	return file_read(path, text, sizeof text) > 0 && strstr(text, "frozen 1") != NULL;
}
