#define _GNU_SOURCE
#include "boot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "modprobe.h"
#include "oom.h"
#include "worker.h"

#define PORTS_WAIT_MS 30000

static void mount_or_log(const char *type, const char *target, unsigned long flags, const char *data)
{
	char text[200];

	file_directory(target, 0755);
	if (mount(type, target, type, flags, data) == 0 || errno == EBUSY)
		return;
	snprintf(text, sizeof text, "mount %s: %s", target, strerror(errno));
	kernel_log_write(0, text);
}

static void load_modules(void)
{
	char name[128], path[160], text[300];
	FILE *f = fopen("/modules/order", "re");

	if (!f)
		return;
	while (fgets(name, sizeof name, f)) {
		name[strcspn(name, "\n")] = 0;
		if (!name[0] || name[0] == '#')
			continue;
		snprintf(path, sizeof path, "/modules/%s%s", name, strstr(name, ".ko") ? "" : ".ko");
		if (modprobe_file(path, "")) {
			snprintf(text, sizeof text, "module %s: %s", path, strerror(errno));
			kernel_log_write(1, text);
		}
	}
	fclose(f);
}

/* Session groups live under /caddis; the agent itself stays in the root group. */
static void make_groups(void)
{
	static const char *const controllers[] = { "+cpu", "+memory", "+pids", "+io" };

	mount_or_log("cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mkdir(SESSIONS_GROUP, 0755);
	for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++) {
		file_write("/sys/fs/cgroup/cgroup.subtree_control", controllers[i]);
		file_write(SESSIONS_GROUP "/cgroup.subtree_control", controllers[i]);
	}
}

static void standard_descriptors(void)
{
	int null = open("/dev/null", O_RDWR);

	for (int i = 0; i < 3 && null >= 0; i++)
		if (null != i)
			dup2(null, i);
	if (null > 2)
		close(null);
}

void boot_machine(void)
{
	mount_or_log("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
	mount_or_log("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_or_log("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	standard_descriptors();
	kernel_log_write(2, "init");
	load_modules();
	/* gid 5 is tty on every Linux distribution */
	mount_or_log("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666,gid=5");
	mount_or_log("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_or_log("mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
	make_groups();
	net_loopback();
	kernel_log_write(2, "modules loaded");
}

static int named(const char *device, const char *wanted)
{
	char path[320], name[64];

	snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", device);
	return file_line(path, name, sizeof name) > 0 && !strcmp(name, wanted);
}

static int open_port(const char *wanted)
{
	DIR *d = opendir("/sys/class/virtio-ports");
	struct dirent *e;
	char path[300];
	int fd = -1;

	if (!d)
		return -1;
	while (fd < 0 && (e = readdir(d)))
		if (e->d_name[0] != '.' && named(e->d_name, wanted)) {
			snprintf(path, sizeof path, "/dev/%s", e->d_name);
			fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
		}
	closedir(d);
	return fd;
}

int boot_ports(int fds[2])
{
	int64_t until = clock_ms() + PORTS_WAIT_MS;

	fds[0] = fds[1] = -1;
	for (;;) {
		if (fds[0] < 0)
			fds[0] = open_port("caddis.ctl");
		if (fds[1] < 0)
			fds[1] = open_port("caddis.bulk");
		if (fds[0] >= 0 && fds[1] >= 0)
			return 0;
		if (clock_ms() > until)
			return -1;
		clock_sleep_ms(2);
	}
}
