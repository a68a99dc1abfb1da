/* Small files whole: /proc, /sys and configuration. */
#ifndef CADDIS_FILE_H
#define CADDIS_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Reads at most size-1 bytes and terminates them; returns the length or -1 with errno (text is then empty). */
ssize_t file_read(const char *path, char *text, size_t size);
/* The same of a file of one line, such as those of /sys: without its end. */
ssize_t file_line(const char *path, char *text, size_t size);
/* The number behind `name` (with its blank) at the beginning of a line of a file such as memory.stat; 0 if it is not there. */
unsigned long long file_number(const char *path, const char *name);
/* One write(2) of `text` into an existing file; 0 or -1 with errno. */
int file_write(const char *path, const char *text);
/* Makes every missing directory above `path` (mode 0755). */
void file_parents(const char *path);
/* mkdir -p with `mode` for the last one; 0 also when it is there. */
int file_directory(const char *path, mode_t mode);
/* Creates or replaces `path` with `length` bytes and `mode`; 0 or -1 with errno. */
int file_put(const char *path, const void *bytes, size_t length, mode_t mode);
/* Copies a file; 0 or -1 with errno. */
int file_copy(const char *from, const char *to, mode_t mode);

#endif
