/* LEASE and PAUSE against a live agent: a directory stands in for the job's cgroup, so that every answer of the kernel can be had; and once the real thing, where there is one. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "freeze.h"
#include "identity.h"
#include "peer.h"

static char group[64];

static void put(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof path, "%s/%s", group, name);
	CHECK(file_put(path, text, strlen(text), 0644) == 0);
	checks_passed--;
}

static void unlink_in_group(const char *name)
{
	char path[128];

	snprintf(path, sizeof path, "%s/%s", group, name);
	CHECK(unlink(path) == 0);
}

static int frozen(void)
{
	char path[128], text[8];

	snprintf(path, sizeof path, "%s/cgroup.freeze", group);
	return file_read(path, text, sizeof text) > 0 && text[0] == '1';
}

static int becomes(int wanted, int ms)
{
	for (int64_t until = clock_ms() + ms; clock_ms() < until; clock_sleep_ms(5))
		if (frozen() == wanted)
			return 1;
	return frozen() == wanted;
}

/* Waits for a frame of `type`; others are dropped. A LOG must begin with `text`. */
static int expect(struct peer *p, struct frame *f, uint8_t type, const char *text)
{
	for (int64_t until = clock_ms() + 10000; clock_ms() < until;)
		if (peer_next(p, f, 100) == 1 && f->type == type && (!text || (f->length >= strlen(text) && !memcmp(f->payload, text, strlen(text)))))
			return 1;
	return 0;
}

static int has(const struct frame *f, uint16_t wanted, const char *text)
{
	struct tlv_reader r = { f->payload, f->payload + f->length };
	const uint8_t *v;
	uint32_t n;
	uint16_t tag;

	while (tlv_next(&r, &tag, &v, &n) == 1)
		if (tag == wanted && (!text || memmem(v, n, text, strlen(text))))
			return 1;
	return 0;
}

static uint64_t reasons(struct peer *p)
{
	int64_t until = clock_ms() + 1000;
	struct tlv_reader r;
	const uint8_t *v;
	struct frame f;
	uint32_t n;
	uint16_t tag;

	/* One that was made after this call: there is one each second. */
	do {
		if (!CHECK(expect(p, &f, F_PRESSURE, NULL)))
			return ~0ull;
	} while (clock_ms() < until);
	r = (struct tlv_reader){ f.payload, f.payload + f.length };
	while (tlv_next(&r, &tag, &v, &n) == 1)
		if (tag == T_FROZEN && n == 8)
			return get64(v);
	return 0;
}

static void lease(struct peer *p, uint64_t ms) { peer_send(p, (struct frame){ .type = F_LEASE, .stream = STREAM_NONE, .offset = ms }, NULL); }

static void pause_with(struct peer *p, uint64_t request, uint16_t flags)
{
	peer_send(p, (struct frame){ .type = F_PAUSE, .stream = STREAM_NONE, .session = request, .flags = flags }, NULL);
}

/* The answer to `request`: 0 done, 1 failed, -1 none. */
static int answered(struct peer *p, uint64_t request, const char *message)
{
	struct frame f;

	if (!expect(p, &f, F_SETUP_DONE, NULL) || f.session != request || (message && !has(&f, T_MESSAGE, message)))
		return -1;
	return f.flags & 1;
}

static void leases(struct peer *p)
{
	struct frame f;
	int64_t before;

	/* Without one nothing happens, nor with one that is renewed. */
	CHECK(!becomes(1, 200));
	for (int i = 0; i < 10; i++) {
		lease(p, 300);
		CHECK(!becomes(1, 60));
	}
	before = clock_ms();
	CHECK(becomes(1, 2000) && clock_ms() - before >= 150 && clock_ms() - before < 1000);
	CHECK(expect(p, &f, F_LOG, "no lease from caddisd in time: the job was frozen") && f.flags == 1);
	CHECK(reasons(p) == FREEZE_LEASE);
	/* The agent goes on. */
	peer_send(p, (struct frame){ .type = F_PING, .stream = STREAM_NONE, .offset = 9 }, NULL);
	CHECK(expect(p, &f, F_PONG, NULL) && f.offset == 9);
	lease(p, 60000);
	CHECK(becomes(0, 1000));
	CHECK(expect(p, &f, F_LOG, "the lease is back after ") && f.flags == 1);
	CHECK(reasons(p) == 0);
	/* The end of leasing thaws, and none is missed any more. */
	lease(p, 20);
	CHECK(becomes(1, 1000));
	lease(p, 0);
	CHECK(becomes(0, 1000) && !becomes(1, 100));
	lease(p, ~0ull);
	CHECK(!becomes(1, 100));
	lease(p, 0);
}

/* The link is mostly what failed: the host hears of it when it is back, before the job goes on. */
static void lease_without_link(struct peer *p, const char *directory)
{
	struct frame f;

	lease(p, 100);
	peer_close(p);
	CHECK(becomes(1, 5000) && peer_connect(p, directory) == 0);
	CHECK(expect(p, &f, F_LOG, "no lease from caddisd in time"));
	CHECK(frozen());
	lease(p, 0);
	CHECK(becomes(0, 1000));
}

static void pauses(struct peer *p)
{
	int64_t before;

	put("cgroup.events", "populated 1\nfrozen 1\n");
	pause_with(p, 71, PAUSE_FREEZE);
	CHECK(answered(p, 71, NULL) == 0 && frozen() && reasons(p) == FREEZE_PAUSE);
	/* Two reasons: frozen while any holds. */
	lease(p, 20);
	clock_sleep_ms(60);
	CHECK(reasons(p) == (FREEZE_PAUSE | FREEZE_LEASE));
	pause_with(p, 72, 0);
	CHECK(answered(p, 72, NULL) == 0 && frozen() && reasons(p) == FREEZE_LEASE);
	pause_with(p, 73, PAUSE_FREEZE | PAUSE_SYNC);
	CHECK(answered(p, 73, NULL) == 0);
	lease(p, 0);
	CHECK(reasons(p) == FREEZE_PAUSE && frozen());
	pause_with(p, 74, 0);
	CHECK(answered(p, 74, NULL) == 0 && !frozen() && reasons(p) == 0);

	/* A process that does not stop: bounded, said, undone, and the agent answers meanwhile. */
	put("cgroup.events", "populated 1\nfrozen 0\n");
	before = clock_ms();
	pause_with(p, 75, PAUSE_FREEZE | PAUSE_SYNC);
	CHECK(becomes(1, 500));
	CHECK(answered(p, 75, "not every process") == 1);
	CHECK(clock_ms() - before >= 1900 && clock_ms() - before < 4000 && !frozen());
	/* One that stops late is waited for. */
	pause_with(p, 76, PAUSE_FREEZE);
	CHECK(becomes(1, 500));
	put("cgroup.events", "populated 1\nfrozen 1\n");
	CHECK(answered(p, 76, NULL) == 0 && frozen());
	pause_with(p, 77, 0);
	CHECK(answered(p, 77, NULL) == 0);

	/* A newer one takes the place of one that waits; both are answered. */
	put("cgroup.events", "populated 1\nfrozen 0\n");
	pause_with(p, 78, PAUSE_FREEZE);
	CHECK(becomes(1, 500));
	pause_with(p, 79, 0);
	CHECK(answered(p, 78, "another PAUSE") == 1 && answered(p, 79, NULL) == 0 && !frozen());
	pause_with(p, 178, PAUSE_FREEZE);
	CHECK(becomes(1, 500));
	put("scratch", "");
	pause_with(p, 179, PAUSE_SYNC);
	CHECK(answered(p, 178, "another PAUSE") == 1 && answered(p, 179, "scratch disk") == 1 && !frozen());
	/* A disk that cannot be synced: the job goes on. */
	put("cgroup.events", "populated 1\nfrozen 1\n");
	pause_with(p, 180, PAUSE_FREEZE | PAUSE_SYNC);
	CHECK(answered(p, 180, "scratch disk") == 1 && !frozen() && reasons(p) == 0);
	/* Unless it stood before. */
	pause_with(p, 181, PAUSE_FREEZE);
	CHECK(answered(p, 181, NULL) == 0);
	pause_with(p, 182, PAUSE_FREEZE | PAUSE_SYNC);
	CHECK(answered(p, 182, "scratch disk") == 1 && frozen() && reasons(p) == FREEZE_PAUSE);
	pause_with(p, 183, 0);
	CHECK(answered(p, 183, NULL) == 0);
	unlink_in_group("scratch");

	pause_with(p, 80, 8);
	CHECK(answered(p, 80, "flag") == 1 && !frozen());
	pause_with(p, 81, PAUSE_SYNC);
	CHECK(answered(p, 81, NULL) == 0 && !frozen());
}

/* A job's cgroup that cannot be frozen is said, not passed over. */
static void unfreezable(struct peer *p)
{
	struct frame f;

	unlink_in_group("cgroup.freeze");
	pause_with(p, 82, PAUSE_FREEZE);
	CHECK(answered(p, 82, "cannot be frozen: No such file") == 1 && reasons(p) == 0);
	lease(p, 20);
	CHECK(expect(p, &f, F_LOG, "the lease ran out and the job cannot be frozen") && f.flags == 0);
	put("cgroup.freeze", "0");
	CHECK(becomes(1, 3000));
	lease(p, 0);
	CHECK(becomes(0, 1000));
}

static void wakes(struct peer *p)
{
	struct tlv_writer w = { 0 };

	tlv_put_u64(&w, T_CLOCK_NS, 1);
	tlv_put_text(&w, T_HOSTS, "10.0.0.1 here");
	peer_send(p, (struct frame){ .type = F_WAKE, .stream = STREAM_NONE, .session = 90, .length = (uint32_t)w.length }, w.data);
	CHECK(answered(p, 90, NULL) == 0);
	tlv_free(&w);
}

/* Whether cgroup.freeze was written within `ms`: equal events that follow each other may be one. */
static int writes(int watch, int ms)
{
	struct inotify_event events[16];
	int count = 0;

	for (int64_t until = clock_ms() + ms; clock_ms() < until; clock_sleep_ms(5)) {
		ssize_t n = read(watch, events, sizeof events);

		count += n > 0 ? (int)(n / (ssize_t)sizeof *events) : 0;
	}
	return count;
}

static void stood(struct peer *p)
{
	struct frame f = { .type = F_CLOCK, .stream = STREAM_NONE };
	char path[128];
	struct timespec t;
	int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	snprintf(path, sizeof path, "%s/cgroup.freeze", group);
	CHECK(inotify_add_watch(watch, path, IN_MODIFY) >= 0);
	clock_gettime(CLOCK_REALTIME, &t);
	/* A clock that was right, or ahead: the machine did not stand still. */
	f.offset = ((uint64_t)t.tv_sec + 1) * 1000000000u;
	peer_send(p, f, NULL);
	f.offset = ((uint64_t)t.tv_sec - 3600) * 1000000000u;
	peer_send(p, f, NULL);
	CHECK(writes(watch, 300) == 0);
	/* It did. No NFS server is mounted here, so that the job goes on when that is seen. */
	f.offset = ((uint64_t)t.tv_sec + 60) * 1000000000u;
	peer_send(p, f, NULL);
	CHECK(writes(watch, 1000) > 0 && !frozen() && reasons(p) == 0);
	/* Not if it is frozen for another reason. */
	pause_with(p, 85, PAUSE_FREEZE);
	CHECK(becomes(1, 1000));
	peer_send(p, f, NULL);
	CHECK(reasons(p) == FREEZE_PAUSE && frozen());
	pause_with(p, 86, 0);
	CHECK(becomes(0, 1000));
	close(watch);
}

static void hosts(void)
{
	char path[128], text[256];

	snprintf(path, sizeof path, "%s/hosts", group);
	put("hosts", "127.0.0.1 localhost\n");
	CHECK(identity_section(path, "10.0.0.1 old") == 0 && identity_section(path, "10.0.0.2 new") == 0);
	CHECK(file_read(path, text, sizeof text) > 0 && !strcmp(text, "127.0.0.1 localhost\n# caddis\n10.0.0.2 new\n"));
	unlink(path);
}

static void in_a_directory(const char *program)
{
	static const char *const files[] = { "cgroup.freeze", "cgroup.events" };
	char directory[64], path[160];
	struct peer p;
	pid_t pid;
	int status;

	strcpy(group, "/tmp/caddis-group-test.XXXXXX");
	if (!CHECK(mkdtemp(group) != NULL))
		return;
	put("cgroup.freeze", "0");
	put("cgroup.events", "populated 1\nfrozen 0\n");
	snprintf(path, sizeof path, "%s/scratch", group);
	setenv("CADDIS_TEST_GROUP", group, 1);
	setenv("CADDIS_TEST_SCRATCH", path, 1);
	pid = agent_start(program, directory);
	unsetenv("CADDIS_TEST_GROUP");
	unsetenv("CADDIS_TEST_SCRATCH");
	if (!CHECK(pid > 0 && peer_connect(&p, directory) == 0))
		return;
	leases(&p);
	lease_without_link(&p, directory);
	pauses(&p);
	unfreezable(&p);
	wakes(&p);
	stood(&p);
	hosts();
	peer_close(&p);
	status = agent_stop(pid, directory);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "%s/%s", group, files[i]);
		unlink(path);
	}
	rmdir(group);
}

static int find_cgroup2(char *path, size_t size)
{
	char line[512], mount[256], type[32];
	FILE *f = fopen("/proc/mounts", "re");
	int found = 0;

	while (f && !found && fgets(line, sizeof line, f))
		found = sscanf(line, "%*s %255s %31s", mount, type) == 2 && !strcmp(type, "cgroup2");
	if (f)
		fclose(f);
	snprintf(path, size, "%s/caddis-test-%d", found ? mount : "/none", (int)getpid());
	return found && mkdir(path, 0755) == 0;
}

static uint64_t received(struct peer *p, uint64_t *last, int ms)
{
	uint64_t bytes = 0;
	struct frame f;

	for (int64_t until = clock_ms() + ms; clock_ms() < until;)
		if (peer_next(p, &f, 10) == 1 && f.type == F_DATA) {
			bytes += f.length;
			*last = f.offset + f.length;
			peer_send(p, (struct frame){ .type = F_ACK, .stream = f.stream, .session = f.session, .offset = *last }, NULL);
		}
	return bytes;
}

/* A program that counts stands still and goes on where it stood; one that is opened meanwhile waits for the thaw. */
static void for_real(const char *program)
{
	static const char *const words[] = { "/bin/sh", "-c", "while :; do echo x; sleep 0.02; done" };
	struct tlv_writer w = { 0 };
	uint64_t last = 0;
	char directory[64];
	struct peer p;
	pid_t pid;

	if (!find_cgroup2(group, sizeof group)) {
		printf("freeze: no cgroup2 to be had here: not tried for real\n");
		return;
	}
	setenv("CADDIS_TEST_GROUP", group, 1);
	pid = agent_start(program, directory);
	unsetenv("CADDIS_TEST_GROUP");
	if (!CHECK(pid > 0 && peer_connect(&p, directory) == 0))
		return;
	for (int i = 0; i < 3; i++)
		tlv_put_text(&w, T_ARG, words[i]);
	tlv_put_text(&w, T_ENV, "PATH=/usr/bin:/bin");
	peer_send(&p, (struct frame){ .type = F_OPEN, .stream = STREAM_NONE, .session = 31, .length = (uint32_t)w.length }, w.data);
	CHECK(received(&p, &last, 1000) > 0);
	pause_with(&p, 1, PAUSE_FREEZE | PAUSE_SYNC);
	CHECK(answered(&p, 1, NULL) == 0);
	received(&p, &last, 100); /* what it had written before */
	peer_send(&p, (struct frame){ .type = F_OPEN, .stream = STREAM_NONE, .session = 32, .length = (uint32_t)w.length }, w.data);
	CHECK(received(&p, &last, 500) == 0);
	pause_with(&p, 2, 0);
	CHECK(answered(&p, 2, NULL) == 0);
	CHECK(received(&p, &last, 1000) > 0);
	lease(&p, 50);
	clock_sleep_ms(200);
	received(&p, &last, 100);
	CHECK(received(&p, &last, 300) == 0);
	lease(&p, 5000);
	CHECK(received(&p, &last, 1000) > 0);
	for (uint64_t s = 31; s < 33; s++)
		peer_send(&p, (struct frame){ .type = F_SIGNAL, .stream = STREAM_NONE, .session = s, .offset = 9 }, NULL);
	received(&p, &last, 300);
	tlv_free(&w);
	peer_close(&p);
	agent_stop(pid, directory);
	for (uint64_t s = 31; s < 33; s++) {
		char path[128];

		snprintf(path, sizeof path, "%s/s%llu", group, (unsigned long long)s);
		rmdir(path);
	}
	CHECK(rmdir(group) == 0);
}

void test_freeze(const char *program)
{
	in_a_directory(program);
	for_real(program);
}
