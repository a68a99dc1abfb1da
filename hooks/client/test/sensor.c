/* The load sensor: it answers whatever lies in caddisd's place, and ends on `quit` or the end of its input alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "clock_ms.h"
#include "tests.h"

static const char closed[] = "begin\nh1:vm_ok:0\nh1:vm_jobs:0\nh1:vm_mem_slack:0\nh1:vm_cpu_slack:0.00\nh1:vm_mem_pressure:0.000\nh1:vm_cpu_pressure:0.000\n"
			     "h1:vm_io_pressure:0.000\nh1:vm_pressure:0.000\nend\n";
static const char open_[] = "begin\nh1:vm_ok:1\nh1:vm_jobs:2\nh1:vm_mem_slack:3221225472\nh1:vm_cpu_slack:1.50\nh1:vm_mem_pressure:0.120\nh1:vm_cpu_pressure:0.250\n"
			    "h1:vm_io_pressure:0.010\nh1:vm_pressure:0.950\nend\n";
static const char body[] = "vm_ok 1\nvm_jobs 2\nvm_mem_slack 3221225472\nvm_cpu_slack 1.50\nvm_mem_pressure 0.120\nvm_cpu_pressure 0.250\nvm_io_pressure 0.010\nvm_pressure 0.950\n";

static const char *boot_id(void)
{
	static char id[64];
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");

	if (!f || !fgets(id, sizeof id, f))
		abort();
	fclose(f);
	id[strcspn(id, "\n")] = 0;
	return id;
}

static void path_of(const struct rig *r, char path[128]) { snprintf(path, 128, "%s/gridengine.load", r->dir); }

static void leave(const struct rig *r, const void *text, size_t length)
{
	char path[128];
	int fd;

	path_of(r, path);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	CHECK(fd >= 0 && write(fd, text, length) == (ssize_t)length);
	close(fd);
}

static void leave_report(const struct rig *r, const char *boot, int64_t at_ms, const char *values, const char *end)
{
	char text[1024];

	snprintf(text, sizeof text, "boot %s\nmonotonic_ms %lld\n%s%s", boot, (long long)at_ms, values, end);
	leave(r, text, strlen(text));
}

/* Asks once; 1 if exactly `expected` came, within a second. */
static int asked(struct rig *r, const char *expected)
{
	int64_t before = clock_ms();

	r->length[0] = 0;
	if (write(r->in, "\n", 1) != 1)
		return 0;
	while (clock_ms() - before < 1000 && r->length[0] < strlen(expected))
		rig_turn(r, 10);
	return r->length[0] == strlen(expected) && !memcmp(r->text[0], expected, strlen(expected));
}

static void start(struct rig *r)
{
	rig_make(r);
	rig_start(r, hook_path, (char *[]){ "caddis-hook", "--run", r->dir, "load-sensor", "h1", NULL }, NULL, NULL);
}

static void told(void)
{
	static struct rig r;

	start(&r);
	CHECK(asked(&r, closed));
	leave_report(&r, boot_id(), clock_ms(), body, "end\n");
	CHECK(asked(&r, open_));
	/* caddisd falls silent. */
	leave_report(&r, boot_id(), clock_ms() - 4000, body, "end\n");
	CHECK(asked(&r, open_));
	leave_report(&r, boot_id(), clock_ms() - 6000, body, "end\n");
	CHECK(asked(&r, closed));
	CHECK(write(r.in, "quit\n", 5) == 5);
	CHECK(rig_wait(&r, 2000) && exited(&r, 0));
	rig_end(&r);

	/* Without a word too. */
	start(&r);
	CHECK(asked(&r, closed));
	close(r.in);
	r.in = -1;
	CHECK(rig_wait(&r, 2000) && exited(&r, 0));
	rig_end(&r);
}

static void damaged(void)
{
	static struct rig r;
	static char long_text[10000], text[1024], copy[1024];
	char path[128], twice[1024];
	size_t length;

	start(&r);
	leave_report(&r, "00000000-0000-0000-0000-000000000000", clock_ms(), body, "end\n");
	CHECK(asked(&r, closed));
	leave_report(&r, boot_id(), clock_ms() + 60000, body, "end\n");
	CHECK(asked(&r, closed));
	leave_report(&r, boot_id(), clock_ms(), body, "");
	CHECK(asked(&r, closed));
	leave_report(&r, boot_id(), clock_ms(), body, "end\nmore\n");
	CHECK(asked(&r, closed));
	leave_report(&r, boot_id(), clock_ms(), "vm_ok 1\n", "end\n");
	CHECK(asked(&r, closed));
	snprintf(twice, sizeof twice, "%svm_ok 1\n", body);
	leave_report(&r, boot_id(), clock_ms(), twice, "end\n");
	CHECK(asked(&r, closed));
	for (const char *const *bad = (const char *const[]){ "nan", "inf", "0x1", "1e0", "-1", "1.5", "", " 1", "h2:vm_ok:1", NULL }; *bad; bad++) {
		snprintf(twice, sizeof twice, "%svm_pressure %s\n", body, *bad);
		/* In place of the last line. */
		memmove(strstr(twice, "vm_pressure 0.950\n"), strstr(twice, "vm_pressure 0.950\n") + 18, strlen(strstr(twice, "vm_pressure 0.950\n") + 18) + 1);
		leave_report(&r, boot_id(), clock_ms(), twice, "end\n");
		CHECK(asked(&r, closed));
	}
	memset(long_text, 'x', sizeof long_text);
	leave(&r, long_text, sizeof long_text);
	CHECK(asked(&r, closed));
	leave(&r, "", 0);
	CHECK(asked(&r, closed));

	/* Whatever bytes: an answer, which is either that of a closed host or has our names in it and no other. */
	for (int i = 0; i < 300; i++) {
		length = (size_t)snprintf(text, sizeof text, "boot %s\nmonotonic_ms %lld\n%send\n", boot_id(), (long long)clock_ms(), body);
		memcpy(copy, text, length);
		for (uint64_t k = 1 + any() % 4; k; k--)
			copy[any() % length] = (char)any();
		leave(&r, copy, any() % 3 ? length : any() % length);
		r.length[0] = 0;
		CHECK(write(r.in, "\n", 1) == 1);
		for (int64_t until = clock_ms() + 1000; clock_ms() < until;) {
			rig_turn(&r, 5);
			if (r.length[0] > 4 && !memcmp(r.text[0] + r.length[0] - 4, "end\n", 4))
				break;
		}
		r.text[0][r.length[0]] = 0;
		CHECK(!strncmp(r.text[0], "begin\nh1:vm_ok:", 15) && strstr(r.text[0], "\nend\n"));
	}

	path_of(&r, path);
	unlink(path);
	CHECK(!mkfifo(path, 0644) && asked(&r, closed));
	unlink(path);
	CHECK(!mkdir(path, 0755) && asked(&r, closed));
	rmdir(path);
	CHECK(!symlink("/proc/kmsg", path) && asked(&r, closed));
	unlink(path);
	leave_report(&r, boot_id(), clock_ms(), body, "end\n");
	CHECK(!chown(path, 12345, 12345) && asked(&r, closed));
	rig_end(&r);
}

static void stays(void)
{
	static struct rig r;

	start(&r);
	CHECK(asked(&r, closed));
	for (const int *s = (const int[]){ SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2, 0 }; *s; s++)
		kill(r.pid, *s);
	CHECK(asked(&r, closed));
	/* Words that are none of execd's, and a line without an end. */
	memset(r.text[0], 0, 8);
	r.length[0] = 0;
	for (int i = 0; i < 100; i++)
		CHECK(write(r.in, "quitquitquitquitquitquitquitquit", 32) == 32);
	CHECK(asked(&r, closed));
	/* Nobody reads the answers any more. */
	close(r.out);
	r.out = -1;
	CHECK(write(r.in, "\n\n\n", 3) == 3);
	CHECK(!rig_wait(&r, 300));
	rig_end(&r);
}

void test_sensor(void)
{
	told();
	damaged();
	stays();
}
