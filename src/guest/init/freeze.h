/* The job frozen where it stands: cgroup.freeze of the group of all sessions. The agent itself is outside of it. */
#ifndef CADDIS_FREEZE_H
#define CADDIS_FREEZE_H

/* Why it is frozen: it stays so while any of them holds. These are the bits of FROZEN. */
enum freeze_reason { FREEZE_LEASE = 1, FREEZE_PAUSE = 2, FREEZE_STOOD = 4 };

struct freezer {
	const char *group; /* NULL: there is none, as in agent mode; then reasons are kept and nothing is frozen */
	unsigned reasons;
};

/* Adds or takes away a reason. 0, or -1 with errno when the group could not be frozen or thawed: the reasons are then as they were. */
int freezer_set(struct freezer *f, enum freeze_reason reason, int on);
/* 1 when every process of the group stands still: one in the midst of a system call that cannot be interrupted takes until its end. */
int freezer_still(const struct freezer *f);

#endif
