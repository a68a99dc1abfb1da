/* Who the guest knows: passwd, group, hosts. */
#ifndef CADDIS_IDENTITY_H
#define CADDIS_IDENTITY_H

#include <stddef.h>

/* Puts `line` into a colon-separated file; a line with the same name (first field) is replaced. 0 or -1 with errno. */
int identity_line(const char *path, const char *line);
/* Replaces the part of `path` that Caddis wrote before by `text`; the rest stays. 0 or -1 with errno. */
int identity_section(const char *path, const char *text);

#endif
