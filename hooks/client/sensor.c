#define _GNU_SOURCE
#include "sensor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "clock_ms.h"

/* caddisd writes it each second (src/scheduler/gridengine/publish.ts). A file is used, and no question to caddisd, since reading it cannot wait. */
#define FILE_NAME "gridengine.load"
#define FILE_MOST 4096
/* A caddisd that is being restarted is back within this time; one that stands still for longer knows nothing. */
#define FRESH_MS 5000
#define LINE_MOST 256

enum { OK, JOBS, MEM_SLACK, CPU_SLACK, MEM_PRESSURE, CPU_PRESSURE, IO_PRESSURE, PRESSURE, VALUES };

/* `most`: no node has more; what is beyond was not written by caddisd. */
static const struct {
	const char *name;
	double most;
	int decimals;
} values[VALUES] = {
	{ "vm_ok", 1, 0 },		{ "vm_jobs", 1e6, 0 },	       { "vm_mem_slack", 1e16, 0 },   { "vm_cpu_slack", 1e6, 2 },
	{ "vm_mem_pressure", 1, 3 },	{ "vm_cpu_pressure", 1, 3 },   { "vm_io_pressure", 1, 3 },    { "vm_pressure", 1, 3 },
};

/* Digits and one point, nothing else that strtod(3) would take (inf, 0x, 1e9). */
static int number(const char *text, double most, double *value)
{
	size_t n = strlen(text), digits = strspn(text, "0123456789");

	if (!digits || n > 24)
		return -1;
	if (text[digits] == '.')
		digits += 1 + strspn(text + digits + 1, "0123456789");
	if (digits != n)
		return -1;
	*value = strtod(text, NULL);
	return *value <= most ? 0 : -1;
}

static int is_this_boot(const char *id)
{
	char now[64];
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, now, sizeof now - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	now[n] = 0;
	now[strcspn(now, "\n")] = 0;
	return !strcmp(id, now);
}

static int is_fresh(const char *text)
{
	double written, age;

	if (number(text, 1e15, &written))
		return 0;
	age = (double)clock_ms() - written;
	/* A time that is yet to come is of another boot, or no time at all. */
	return age >= -1000 && age <= FRESH_MS;
}

static int value_of(const char *name)
{
	for (int i = 0; i < VALUES; i++)
		if (!strcmp(values[i].name, name))
			return i;
	return -1;
}

/* All of it or nothing: every value once, fresh, of this boot, and `end`. */
static int parse(char *text, double found[VALUES])
{
	unsigned seen = 0, is_ours = 0, fresh = 0;
	char *line, *value;

	while ((line = strsep(&text, "\n")) && text) {
		int i;

		if (!strcmp(line, "end"))
			return !*text && seen == (1u << VALUES) - 1 && is_ours && fresh ? 0 : -1;
		if (!(value = strchr(line, ' ')))
			return -1;
		*value++ = 0;
		if (!strcmp(line, "boot"))
			is_ours = is_this_boot(value);
		else if (!strcmp(line, "monotonic_ms"))
			fresh = is_fresh(value);
		else if ((i = value_of(line)) < 0 || seen >> i & 1 || number(value, values[i].most, &found[i]))
			return -1;
		else
			seen |= 1u << i;
	}
	return -1;
}

static int load(const char *directory, double found[VALUES])
{
	char path[4096], text[FILE_MOST + 1];
	ssize_t n = -1;
	struct stat st;
	int fd;

	if (snprintf(path, sizeof path, "%s/" FILE_NAME, directory) >= (int)sizeof path)
		return -1;
	/* Not blocking: somebody may have put a fifo there. */
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && (st.st_uid == 0 || st.st_uid == geteuid()) && st.st_size <= FILE_MOST)
		n = read(fd, text, FILE_MOST);
	close(fd);
	if (n <= 0 || memchr(text, 0, (size_t)n))
		return -1;
	text[n] = 0;
	return parse(text, found);
}

static void put(const char *text, size_t length)
{
	while (length) {
		ssize_t n = write(1, text, length);

		if (n < 0 && errno == EINTR)
			continue;
		/* execd is gone: so is our input soon. */
		if (n <= 0)
			return;
		text += n;
		length -= (size_t)n;
	}
}

static void answer(const char *directory, const char *host)
{
	double found[VALUES] = { 0 };
	char text[FILE_MOST];
	size_t n = 0;

	if (load(directory, found))
		memset(found, 0, sizeof found);
	n += (size_t)snprintf(text, sizeof text, "begin\n");
	for (int i = 0; i < VALUES; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%.200s:%s:%.*f\n", host, values[i].name, values[i].decimals, found[i]);
	n += (size_t)snprintf(text + n, sizeof text - n, "end\n");
	put(text, n);
}

void sensor_run(const char *directory, const char *host)
{
	static const int endings[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2 };
	char line[LINE_MOST], bytes[LINE_MOST];
	struct utsname name;
	size_t length = 0;
	ssize_t n;

	/* A sensor that ends wedges sge_execd for good (facts: "Load sensor"): nothing but its word or its end ends us. */
	for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
		signal(endings[i], SIG_IGN);
	if (!host) {
		uname(&name);
		host = name.nodename;
	}
	while ((n = read(0, bytes, sizeof bytes)) != 0) {
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return;
		for (ssize_t i = 0; i < n; i++) {
			if (bytes[i] != '\n') {
				if (length < sizeof line)
					line[length++] = bytes[i];
				continue;
			}
			if (length == 4 && !memcmp(line, "quit", 4))
				return;
			length = 0;
			answer(directory, host);
		}
		if (n < 0 && errno == EAGAIN)
			usleep(100000);
	}
}
