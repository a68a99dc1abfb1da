#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "identity.h"
#include "modprobe.h"
#include "mounts.h"
#include "worker.h"

#define TEXT_MOST 8192
/* linux/random.h, which musl does not bring */
#define RNDADDENTROPY_ 0x40085203
#define RNDRESEEDCRNG_ 0x5207

void job_timing(struct job *j, const char *name)
{
	char text[80];
	int64_t now = clock_ms();

	snprintf(text, sizeof text, "%s=%lld", name, (long long)(now - j->since_ms));
	tlv_put_text(&j->result, T_TIMING, text);
	j->since_ms = now;
}

int job_failed(struct job *j, const char *what, const char *subject)
{
	if (!j->message[0])
		snprintf(j->message, sizeof j->message, "%s: %.300s: %s", what, subject, strerror(errno));
	return -1;
}

/* Clones begin with the same generator state: what they get here tells them apart. */
static void seed(const uint8_t *bytes, uint32_t length)
{
	struct { int entropy_bits, bytes; uint8_t data[64]; } pool = { 0 };
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	pool.bytes = (int)(length < sizeof pool.data ? length : sizeof pool.data);
	pool.entropy_bits = 8 * pool.bytes;
	memcpy(pool.data, bytes, (size_t)pool.bytes);
	ioctl(fd, RNDADDENTROPY_, &pool);
	ioctl(fd, RNDRESEEDCRNG_, 0);
	close(fd);
}

static int host_name(struct job *j, const char *name)
{
	char line[300];

	if (sethostname(name, strlen(name)))
		return job_failed(j, "host name", name);
	snprintf(line, sizeof line, "%.255s\n", name);
	file_put("/etc/hostname", line, strlen(line), 0644);
	return 0;
}

/* Both before the module is loaded (it reads its options once) and after. */
static void nfs_identity(const char *id)
{
	char line[300];

	snprintf(line, sizeof line, "nfs nfs4_unique_id=%.128s recover_lost_locks=1\n", id);
	file_put(MODPROBE_OPTIONS, line, strlen(line), 0644);
	file_write("/sys/module/nfs/parameters/nfs4_unique_id", id);
	file_write("/sys/module/nfs/parameters/recover_lost_locks", "1");
}

static int make_dir(struct job *j, const uint8_t *v, uint32_t n)
{
	char path[4096];

	if (n <= 12 || n - 12 >= sizeof path) {
		errno = EINVAL;
		return job_failed(j, "DIR", "malformed");
	}
	memcpy(path, v + 12, n - 12);
	path[n - 12] = 0;
	if (file_directory(path, get32(v) & 07777) || chown(path, get32(v + 4), get32(v + 8)) || chmod(path, get32(v) & 07777))
		return job_failed(j, "directory", path);
	return 0;
}

static int put_file(struct job *j, const uint8_t *v, uint32_t n)
{
	char path[4096];
	uint32_t length = n >= 16 ? get32(v + 12) : 0;

	if (length == 0 || length > n - 16 || length >= sizeof path) {
		errno = EINVAL;
		return job_failed(j, "SETUP_FILE", "malformed");
	}
	memcpy(path, v + 16, length);
	path[length] = 0;
	file_parents(path);
	if (file_put(path, v + 16 + length, n - 16 - length, get32(v) & 07777) || chown(path, get32(v + 4), get32(v + 8)))
		return job_failed(j, "file", path);
	return 0;
}

static int one_text(struct job *j, uint16_t tag, const char *text)
{
	switch (tag) {
	case T_HOSTNAME: return host_name(j, text);
	case T_HOSTS: return identity_section("/etc/hosts", text) ? job_failed(j, "file", "/etc/hosts") : 0;
	case T_PASSWD: return identity_line("/etc/passwd", text) ? job_failed(j, "file", "/etc/passwd") : 0;
	case T_GROUPLINE: return identity_line("/etc/group", text) ? job_failed(j, "file", "/etc/group") : 0;
	case T_NFS_ID: nfs_identity(text); return 0;
	case T_NET: return net_setup(j, text);
	case T_MOUNT: return mounts_add(j, text);
	case T_BIND: return mounts_bind(j, text);
	case T_STUB: return mounts_stub(j, text);
	default: return 0;
	}
}

static int one(struct job *j, uint16_t tag, const uint8_t *v, uint32_t n)
{
	char *text;
	int result;

	switch (tag) {
	case T_CLOCK_NS: return n >= 8 && clock_set(get64(v)) ? job_failed(j, "clock", "set") : 0;
	case T_SEED: seed(v, n); return 0;
	case T_DIR: return make_dir(j, v, n);
	case T_SETUP_FILE: return put_file(j, v, n);
	}
	if (memchr(v, 0, n) || !(text = strndup((const char *)v, n))) {
		errno = EINVAL;
		return job_failed(j, "SETUP", "a text with a NUL inside");
	}
	result = one_text(j, tag, text);
	free(text);
	return result;
}

/* What must be there before what: an order of phases, each with its own timing; within a phase the document's order holds. */
static const struct { const char *name; uint16_t tags[6]; } phases[] = {
	{ "identity", { T_CLOCK_NS, T_SEED, T_HOSTNAME, T_PASSWD, T_GROUPLINE, T_HOSTS } },
	{ "network", { T_NFS_ID, T_NET } },
	{ "mounts", { T_MOUNT } },
	{ "files", { T_DIR, T_SETUP_FILE } },
	{ "binds", { T_BIND, T_STUB } },
};

static int in_phase(size_t phase, uint16_t tag)
{
	for (size_t i = 0; i < 6; i++)
		if (tag && phases[phase].tags[i] == tag)
			return 1;
	return 0;
}

int setup_machine(struct job *j, const uint8_t *document, size_t length)
{
	for (size_t phase = 0; phase < sizeof phases / sizeof *phases; phase++) {
		struct tlv_reader r = { document, document + length };
		const uint8_t *v;
		uint32_t n;
		uint16_t tag;
		int more, any = 0;

		while ((more = tlv_next(&r, &tag, &v, &n)) == 1) {
			if (!in_phase(phase, tag))
				continue;
			any = 1;
			if (one(j, tag, v, n))
				return -1;
		}
		if (more < 0) {
			errno = EBADMSG;
			return job_failed(j, "SETUP", "a document that is cut");
		}
		if (any)
			job_timing(j, phases[phase].name);
	}
	return 0;
}

int wake_machine(struct job *j, const uint8_t *document, size_t length)
{
	struct tlv_reader r = { document, document + length };
	const uint8_t *v;
	uint32_t n;
	uint16_t tag;
	int more;

	while ((more = tlv_next(&r, &tag, &v, &n)) == 1)
		if ((tag == T_CLOCK_NS || tag == T_SEED || tag == T_HOSTS) && one(j, tag, v, n))
			return -1;
	if (more < 0) {
		errno = EBADMSG;
		return job_failed(j, "WAKE", "a document that is cut");
	}
	job_timing(j, "wake");
	return 0;
}
