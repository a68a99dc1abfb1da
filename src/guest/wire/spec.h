/* An OPEN document, parsed once. Pointers go into the document or into one arena; spec_free gives the arena back. */
#ifndef CADDIS_SPEC_H
#define CADDIS_SPEC_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <termios.h>

#define SPEC_RLIMITS 32 /* RLIM_NLIMITS is 16 */
#define SPEC_GROUPS 65536 /* NGROUPS_MAX */

struct spec_file {
	uint32_t mode, uid, gid;
	char *path;
	const uint8_t *content;
	size_t length;
};

/* How a program is found. */
enum search {
	SEARCH_NOT,
	SEARCH_EXECVP, /* execvp(3) */
	SEARCH_FIRST, /* slurmstepd: the first that is there, which becomes argv[0] */
};

struct spec {
	char **argv, **envp;
	char *program, *cwd;
	/* Where to go when cwd is not to be had, and what the complaint about it begins with; NULL: not to start then. */
	char *cwd_else, *cwd_else_prefix;
	enum search path_search;
	int merge, stdin_null, tty, has_termios, has_uid, has_gid, has_cpus, has_nice;
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t group_count;
	mode_t umask;
	struct { int resource; struct rlimit limit; } rlimits[SPEC_RLIMITS];
	size_t rlimit_count;
	cpu_set_t cpus;
	struct winsize size;
	struct termios termios;
	int nice;
	struct spec_file *files;
	size_t file_count;
	uint64_t limit_bytes;
	char limit_origin[128];
	void *arena;
};

/* Returns 0, or -1 with `why` set to a literal: cut, lying lengths, a NUL inside a string, no ARG, out of memory. */
int spec_parse(struct spec *s, const uint8_t *document, size_t length, const char **why);
void spec_free(struct spec *s);

#endif
