#define _GNU_SOURCE
#include "identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"

#define FILE_MOST (4u << 20)
#define MARK "# caddis\n"

/* The file as it is, with room for `extra` bytes more; an absent one is empty. */
static char *load(const char *path, size_t extra)
{
	char *text = malloc(FILE_MOST + extra + 2);

	if (text && file_read(path, text, FILE_MOST) < 0)
		text[0] = 0;
	return text;
}

int identity_line(const char *path, const char *line)
{
	size_t name = strcspn(line, ":") + 1, kept = 0;
	char *text = load(path, strlen(line));
	int result;

	if (!text)
		return -1;
	for (char *p = text; *p;) {
		size_t n = strcspn(p, "\n"), whole = n + (p[n] == '\n');

		if (strncmp(p, line, name)) {
			memmove(text + kept, p, whole);
			kept += whole;
			if (p[n] != '\n' && n) /* the last line had no end */
				text[kept++] = '\n';
		}
		p += whole;
	}
	memcpy(text + kept, line, strlen(line));
	kept += strlen(line);
	text[kept++] = '\n';
	result = file_put(path, text, kept, 0644);
	free(text);
	return result;
}

int identity_section(const char *path, const char *text)
{
	char *old = load(path, strlen(text) + sizeof MARK + 1), *mark;
	size_t n;
	int result;

	if (!old)
		return -1;
	if ((mark = strstr(old, MARK)))
		*mark = 0;
	n = strlen(old);
	if (n && old[n - 1] != '\n')
		old[n++] = '\n';
	memcpy(old + n, MARK, sizeof MARK - 1);
	n += sizeof MARK - 1;
	memcpy(old + n, text, strlen(text));
	n += strlen(text);
	old[n++] = '\n';
	result = file_put(path, old, n, 0644);
	free(old);
	return result;
}
