/*
 * `srun --multi-prog FILE` gives each task a program of its own out of FILE: in Slurm < 23.11 a plugin can neither see nor change it (S_JOB_ARGV is then FILE's
 * name and FILE's whole text). Told by just that: argv[1] is what the file argv[0] holds.
 */
#include "spank_caddis.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Each line that says something begins with ranks: `0-3,5`, `*` (multi_prog in srun(1)). */
static bool reads_as_multi_prog(const char *text)
{
	bool any = false;
	while (*text) {
		const char *line = text + strspn(text, " \t");
		const char *end = strchrnul(line, '\n');
		if (line < end && *line != '#') {
			size_t ranks = strspn(line, "0123456789-,*");
			if (ranks == 0 || !isblank((unsigned char)line[ranks]))
				return false;
			any = true;
		}
		text = *end ? end + 1 : end;
	}
	return any;
}

/* 1: the file holds exactly this text; 0: it does not; -1: it cannot be read here. */
static int file_holds(const char *path, const char *text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -1;
	size_t left = strlen(text);
	int same = 1;
	while (same == 1) {
		char part[4096];
		ssize_t got = read(fd, part, sizeof part);
		if (got < 0)
			same = -1;
		else if (got == 0)
			break;
		else if ((size_t)got > left || memcmp(part, text, (size_t)got) != 0)
			same = 0;
		else {
			text += got;
			left -= (size_t)got;
		}
	}
	close(fd);
	return same == 1 && left > 0 ? 0 : same;
}

bool is_multi_prog(int argc, char **argv)
{
	return argc == 2 && reads_as_multi_prog(argv[1]) && file_holds(argv[0], argv[1]) != 0;
}
