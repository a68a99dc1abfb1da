#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "worker.h"

#define DISK_WAIT_MS 10000

static int is_serial(const char *disk, const char *wanted)
{
	char path[300], have[64];

	snprintf(path, sizeof path, "/sys/block/%s/serial", disk);
	/* virtio-blk carries 20 bytes of it */
	return file_line(path, have, sizeof have) > 0 && !strncmp(have, wanted, 20);
}

/* Tries every disk that has (`match` 1) or has not (0) the serial. */
static int mount_disk(const char *serial, int match, const char *type, const char *target, unsigned long flags)
{
	DIR *d = opendir("/sys/block");
	struct dirent *e;
	int mounted = -1;

	if (!d)
		return -1;
	while (mounted && (e = readdir(d))) {
		char path[300];

		if (strncmp(e->d_name, "vd", 2) || is_serial(e->d_name, serial) != match)
			continue;
		snprintf(path, sizeof path, "/dev/%s", e->d_name);
		mounted = mount(path, target, type, flags, NULL);
	}
	closedir(d);
	return mounted;
}

static int wait_disk(const char *serial, int match, const char *type, const char *target, unsigned long flags)
{
	int64_t until = clock_ms() + DISK_WAIT_MS;

	errno = ENODEV;
	while (mount_disk(serial, match, type, target, flags)) {
		if (clock_ms() > until)
			return -1;
		clock_sleep_ms(5);
	}
	return 0;
}

static int move(const char *from, const char *to)
{
	file_directory(to, 0755);
	return mount(from, to, NULL, MS_MOVE, NULL);
}

static int bind_writable(const char *from, const char *to)
{
	if (file_directory(from, 01777) || chmod(from, 01777) || file_directory(to, 01777))
		return -1;
	return mount(from, to, NULL, MS_BIND, NULL);
}

static int assemble(struct job *j, const char *serial)
{
	file_directory("/ro", 0755);
	file_directory("/rw", 0700);
	file_directory("/new", 0755);
	if (wait_disk(serial, 0, "erofs", "/ro", MS_RDONLY))
		return job_failed(j, "root image", "no virtio disk with erofs");
	if (serial[0] ? wait_disk(serial, 1, "ext4", "/rw", MS_NOATIME) : mount("tmpfs", "/rw", "tmpfs", 0, "mode=0700,size=75%"))
		return job_failed(j, "scratch disk", serial);
	job_timing(j, "disks");
	/* The scratch disk's own root would show other users' bytes of the upper layer. */
	chmod("/rw", 0700);
	file_directory("/rw/upper", 0755);
	file_directory("/rw/work", 0755);
	if (mount("overlay", "/new", "overlay", 0, "lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work"))
		return job_failed(j, "mount", "overlay");
	file_directory("/new/run", 0755);
	if (mount("tmpfs", "/new/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=20%"))
		return job_failed(j, "mount", "/run");
	file_directory("/new/run/caddis", 0755);
	file_copy("/caddis-stub", "/new/run/caddis/stub", 0755);
	if (bind_writable("/rw/tmp", "/new/tmp") || bind_writable("/rw/vartmp", "/new/var/tmp") || bind_writable("/rw/scratch", "/new/scratch"))
		return job_failed(j, "mount", "/tmp and /scratch");
	return 0;
}

/* The agent chroots itself: the kernel's helpers (modprobe) share its root. */
static int enter(struct job *j)
{
	/* Out of sight, but not out of reach of whoever must sync or look into them. */
	if (move("/ro", "/new/run/caddis/image") || move("/rw", "/new/run/caddis/scratch"))
		return job_failed(j, "move", "disks");
	if (move("/dev", "/new/dev") || move("/proc", "/new/proc") || move("/sys", "/new/sys"))
		return job_failed(j, "move", "/dev, /proc, /sys");
	if (chdir("/new") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		return job_failed(j, "switch root", "/new");
	file_write("/proc/sys/kernel/modprobe", "/proc/1/exe");
	job_timing(j, "root");
	return 0;
}

static void find_serial(const uint8_t *document, size_t length, char out[64])
{
	struct tlv_reader r = { document, document + length };
	const uint8_t *v;
	uint32_t n;
	uint16_t tag;

	out[0] = 0;
	while (tlv_next(&r, &tag, &v, &n) == 1)
		if (tag == T_SCRATCH && n < 64) {
			memcpy(out, v, n);
			out[n] = 0;
		}
}

int rootfs_switch(struct job *j, const uint8_t *document, size_t length)
{
	static int done;
	char serial[64];

	if (done)
		return 0;
	find_serial(document, length, serial);
	if (assemble(j, serial) || enter(j)) {
		/* What was mounted goes again, so that a second SETUP finds a clean start. */
		umount2("/new/run", MNT_DETACH);
		umount2("/new", MNT_DETACH);
		umount2("/rw", MNT_DETACH);
		umount2("/ro", MNT_DETACH);
		return -1;
	}
	done = 1;
	return 0;
}
