#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t file_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t done = 0;
	ssize_t n = 0;

	text[0] = 0;
	if (fd < 0)
		return -1;
	while (done < size - 1 && (n = read(fd, text + done, size - 1 - done)) > 0)
		done += (size_t)n;
	close(fd);
	text[done] = 0;
	return n < 0 && !done ? -1 : (ssize_t)done;
}

ssize_t file_line(const char *path, char *text, size_t size)
{
	ssize_t n = file_read(path, text, size);

	if (n <= 0)
		return n;
	text[strcspn(text, "\n")] = 0;
	return (ssize_t)strlen(text);
}

unsigned long long file_number(const char *path, const char *name)
{
	char text[8192], *at;
	size_t n = strlen(name);

	if (file_read(path, text, sizeof text) <= 0)
		return 0;
	for (at = text; at; at = (at = strchr(at, '\n')) ? at + 1 : NULL)
		if (!strncmp(at, name, n))
			return strtoull(at + n, NULL, 10);
	return 0;
}

int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), error;
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	error = errno;
	close(fd);
	errno = error;
	return n < 0 ? -1 : 0;
}

void file_parents(const char *path)
{
	char copy[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof copy)
		return;
	memcpy(copy, path, n + 1);
	for (char *p = copy + 1; *p; p++)
		if (*p == '/') {
			*p = 0;
			mkdir(copy, 0755);
			*p = '/';
		}
}

int file_directory(const char *path, mode_t mode)
{
	struct stat st;

	file_parents(path);
	if (mkdir(path, mode) == 0)
		return 0;
	return errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? 0 : -1;
}

static int fill(int fd, const char *bytes, size_t length)
{
	while (length) {
		ssize_t n = write(fd, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		bytes += n;
		length -= (size_t)n;
	}
	return 0;
}

int file_put(const char *path, const void *bytes, size_t length, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), failed, error;

	if (fd < 0)
		return -1;
	failed = fill(fd, bytes, length) || fchmod(fd, mode);
	error = errno;
	close(fd);
	errno = error;
	return failed ? -1 : 0;
}

int file_copy(const char *from, const char *to, mode_t mode)
{
	char block[16384];
	int in = open(from, O_RDONLY | O_CLOEXEC), out, failed = 0, error;
	ssize_t n = 0;

	if (in < 0)
		return -1;
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	failed = out < 0;
	while (!failed && (n = read(in, block, sizeof block)) > 0)
		failed = fill(out, block, (size_t)n);
	failed = failed || n < 0 || fchmod(out, mode);
	error = errno;
	close(in);
	if (out >= 0)
		close(out);
	errno = error;
	return failed ? -1 : 0;
}
