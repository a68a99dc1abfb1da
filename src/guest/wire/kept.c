#define _GNU_SOURCE
#include "kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frame.h"

#define HEAD_BYTES 24

const char *kept_parse(const uint8_t *document, size_t length, struct kept kept[2])
{
	struct tlv_reader r = { document, document + length };
	const uint8_t *v;
	uint32_t n;
	uint16_t tag;
	int more;

	for (int i = 0; i < 2; i++)
		kept[i] = (struct kept){ .length = KEPT_NONE };
	while ((more = tlv_next(&r, &tag, &v, &n)) == 1) {
		struct kept *k;

		if (tag != T_KEPT)
			continue;
		if (n < HEAD_BYTES || (v[0] != STREAM_STDOUT && v[0] != STREAM_STDERR))
			return "a KEPT of no output stream";
		if (n - HEAD_BYTES >= sizeof k->path || memchr(v + HEAD_BYTES, 0, n - HEAD_BYTES))
			return "a KEPT whose path is none";
		k = &kept[v[0] - 1];
		k->delivered = get64(v + 8);
		k->length = get64(v + 16);
		memcpy(k->path, v + HEAD_BYTES, n - HEAD_BYTES);
		k->path[n - HEAD_BYTES] = 0;
		if (k->length == KEPT_NONE)
			k->path[0] = 0;
		else if (k->length > INT64_MAX)
			return "a KEPT longer than any file";
	}
	return more < 0 ? "a document that is cut" : NULL;
}

static ssize_t write_at(int fd, const uint8_t *bytes, size_t length, off_t at, int append)
{
	for (size_t done = 0; done < length;) {
		/* pwrite(2): at a descriptor with O_APPEND the offset means nothing. */
		ssize_t n = append ? write(fd, bytes + done, length - done) : pwrite(fd, bytes + done, length - done, at + (off_t)done);

		if (n < 0 && errno != EINTR)
			return -1;
		done += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)length;
}

/* Bytes [at, length); 0 or -1 with errno. */
static int copy(int from, int to, off_t at, off_t length, int append)
{
	uint8_t block[32768];

	/* Server side where the file system can, and in the kernel elsewhere; it knows no O_APPEND. Whatever it cannot do is done by hand. */
	while (!append && at < length) {
		off_t in = at, out = at;
		ssize_t n = copy_file_range(from, &in, to, &out, (size_t)(length - at), 0);

		if (n <= 0)
			break;
		at += n;
	}
	while (at < length) {
		size_t most = length - at < (off_t)sizeof block ? (size_t)(length - at) : sizeof block;
		ssize_t n = pread(from, block, most, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ENODATA; /* cut while it was read */
		if (n <= 0 || write_at(to, block, (size_t)n, at, append) < 0)
			return -1;
		at += n;
	}
	return 0;
}

static int fill(const struct kept *k, int from, const struct stat *kept, int to)
{
	int append = (fcntl(to, F_GETFL) & O_APPEND) != 0;
	struct stat own;

	if (fstat(to, &own))
		return -1;
	if (kept->st_dev == own.st_dev && kept->st_ino == own.st_ino) {
		errno = EEXIST;
		return -1;
	}
	/* Appended to and not whole: what is there is the beginning, which an earlier try has put back. */
	if (own.st_size < (off_t)k->length && copy(from, to, append ? own.st_size : 0, (off_t)k->length, append))
		return -1;
	if (fdatasync(to))
		return -1;
	return !append && lseek(to, (off_t)k->length, SEEK_SET) < 0 ? -1 : 0;
}

static int failed(const char *what, char why[256])
{
	int error = errno;

	snprintf(why, 256, "%s: %s", what, strerror(error));
	return -1;
}

int kept_restore(const struct kept *k, int fd, char why[256])
{
	/* Non-blocking: a FIFO in its place is refused, not waited for. */
	int from = open(k->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY), result;
	struct stat st;

	if (from < 0)
		return failed("open", why);
	if (fstat(from, &st)) {
		result = failed("stat", why);
	} else if (!S_ISREG(st.st_mode)) {
		snprintf(why, 256, "it is no regular file");
		result = -1;
	} else if (st.st_size < (off_t)k->length) {
		snprintf(why, 256, "it holds %lld bytes of %lld", (long long)st.st_size, (long long)k->length);
		result = -1;
	} else if ((result = fill(k, from, &st, fd))) {
		failed("copy", why);
		if (!(fcntl(fd, F_GETFL) & O_APPEND))
			lseek(fd, 0, SEEK_END);
	} else {
		unlink(k->path);
	}
	close(from);
	return result;
}
