#define _GNU_SOURCE
#include "spec.h"

#include <stdlib.h>
#include <string.h>

#include "frame.h"

struct counts {
	size_t args, envs, groups, files, text;
};

/* A first walk that trusts nothing: every length is checked here, so that the second can fill without looking. */
static int count(const uint8_t *document, size_t length, struct counts *c, const char **why)
{
	struct tlv_reader r = { document, document + length };
	const uint8_t *v;
	uint32_t n;
	uint16_t tag;
	int more;

	while ((more = tlv_next(&r, &tag, &v, &n)) == 1) {
		size_t least = 0;

		switch (tag) {
		case T_ARG:
		case T_ENV:
		case T_CWD:
		case T_PROGRAM:
		case T_CWD_ELSE:
			if (memchr(v, 0, n))
				return *why = "a string with a NUL inside", -1;
			c->args += tag == T_ARG;
			c->envs += tag == T_ENV;
			c->text += (size_t)n + 1;
			break;
		case T_GROUP:
			c->groups++;
			least = 8;
			break;
		case T_FILE:
			least = 16;
			if (n >= 16) {
				uint32_t path = get32(v + 12);

				if (path > n - 16 || path == 0 || memchr(v + 16, 0, path))
					return *why = "a FILE whose path does not fit", -1;
				c->files++;
				c->text += (size_t)path + 1;
			}
			break;
		case T_RLIMIT:
			least = 24;
			break;
		case T_UID:
		case T_GID:
		case T_UMASK:
		case T_CPU:
		case T_TTY:
		case T_NICE:
		case T_NOTE:
			least = 8;
			break;
		}
		if (n < least)
			return *why = "a value shorter than its type", -1;
	}
	if (more < 0)
		return *why = "a document that is cut", -1;
	if (c->args == 0)
		return *why = "no ARG", -1;
	if (c->groups > SPEC_GROUPS)
		return *why = "too many GROUPs", -1;
	return 0;
}

static char *keep(char **text, const uint8_t *v, size_t n)
{
	char *s = *text;

	memcpy(s, v, n);
	s[n] = 0;
	*text += n + 1;
	return s;
}

static void add_rlimit(struct spec *s, const uint8_t *v)
{
	if (s->rlimit_count == SPEC_RLIMITS)
		return;
	s->rlimits[s->rlimit_count].resource = (int)get64(v);
	s->rlimits[s->rlimit_count].limit.rlim_cur = get64(v + 8);
	s->rlimits[s->rlimit_count].limit.rlim_max = get64(v + 16);
	s->rlimit_count++;
}

static void fill(struct spec *s, const uint8_t *document, size_t length, char *text)
{
	struct tlv_reader r = { document, document + length };
	size_t args = 0, envs = 0;
	const uint8_t *v;
	uint32_t n;
	uint16_t tag;

	while (tlv_next(&r, &tag, &v, &n) == 1) {
		switch (tag) {
		case T_ARG: s->argv[args++] = keep(&text, v, n); break;
		case T_ENV: s->envp[envs++] = keep(&text, v, n); break;
		case T_CWD: s->cwd = keep(&text, v, n); break;
		case T_PROGRAM: s->program = keep(&text, v, n); break;
		case T_PATH_SEARCH: s->path_search = n >= 8 && get64(v) == 1 ? SEARCH_FIRST : SEARCH_EXECVP; break;
		case T_CWD_ELSE:
			s->cwd_else = keep(&text, v, n);
			if ((s->cwd_else_prefix = strchr(s->cwd_else, '\t')))
				*s->cwd_else_prefix++ = 0;
			break;
		case T_MERGE: s->merge = 1; break;
		case T_STDIN_NULL: s->stdin_null = 1; break;
		case T_UID: s->has_uid = 1; s->uid = (uid_t)get64(v); break;
		case T_GID: s->has_gid = 1; s->gid = (gid_t)get64(v); break;
		case T_GROUP: s->groups[s->group_count++] = (gid_t)get64(v); break;
		case T_UMASK: s->umask = (mode_t)(get64(v) & 0777); break;
		case T_NICE: s->has_nice = 1; s->nice = (int)(int64_t)get64(v); break;
		case T_RLIMIT: add_rlimit(s, v); break;
		case T_CPU:
			if (get64(v) < CPU_SETSIZE) {
				s->has_cpus = 1;
				CPU_SET((int)get64(v), &s->cpus);
			}
			break;
		case T_TTY:
			s->tty = 1;
			s->size = (struct winsize){ get16(v), get16(v + 2), get16(v + 4), get16(v + 6) };
			break;
		case T_TERMIOS:
			if (n == sizeof s->termios) {
				s->has_termios = 1;
				memcpy(&s->termios, v, n);
			}
			break;
		case T_NOTE: {
			size_t origin = n - 8 < sizeof s->limit_origin - 1 ? n - 8 : sizeof s->limit_origin - 1;

			s->limit_bytes = get64(v);
			memcpy(s->limit_origin, v + 8, origin);
			break;
		}
		case T_FILE: {
			uint32_t path = get32(v + 12);

			s->files[s->file_count++] = (struct spec_file){ get32(v), get32(v + 4), get32(v + 8), keep(&text, v + 16, path),
				v + 16 + path, n - 16 - path };
			break;
		}
		}
	}
}

int spec_parse(struct spec *s, const uint8_t *document, size_t length, const char **why)
{
	struct counts c = { 0 };
	char *p;

	memset(s, 0, sizeof *s);
	s->umask = 022;
	if (count(document, length, &c, why))
		return -1;
	/* Ordered by alignment: pointers, files, groups, text. */
	s->arena = calloc(1, (c.args + c.envs + 2) * sizeof(char *) + c.files * sizeof(struct spec_file) + c.groups * sizeof(gid_t) + c.text);
	if (!s->arena)
		return *why = "out of memory", -1;
	p = s->arena;
	s->argv = (char **)(void *)p;
	s->envp = s->argv + c.args + 1;
	s->files = (struct spec_file *)(void *)(s->envp + c.envs + 1);
	s->groups = (gid_t *)(void *)(s->files + c.files);
	fill(s, document, length, (char *)(s->groups + c.groups));
	return 0;
}

void spec_free(struct spec *s)
{
	free(s->arena);
	s->arena = NULL;
}
