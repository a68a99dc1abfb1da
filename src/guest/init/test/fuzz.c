/* Well-framed nonsense against a live agent: every type, any session, stream, flag, offset, length and content, reconnections in between. Then it must still work. */
#define _GNU_SOURCE
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "peer.h"

#define FUZZ_FRAMES 20000
#define FUZZ_MS 8000

static uint64_t odd_number(void)
{
	static const uint64_t odd[] = { 0, 1, 2, 255, 65535, 65536, 262143, 262144, 262145, 1ull << 31, 1ull << 32, 1ull << 63, ~0ull, ~0ull - 1 };

	return below(3) ? odd[below(sizeof odd / sizeof *odd)] : any();
}

/* An OPEN that may even start: /bin/true or /bin/cat, between tags of any kind. No FILE: an agent with a root's rights would write it. */
static size_t document(uint8_t *out)
{
	static const char *const programs[] = { "/bin/true", "/bin/cat", "/no/such" };
	struct tlv_writer w = { 0 };
	size_t n;

	for (uint64_t k = below(5); k; k--) {
		uint8_t value[40];
		uint16_t tag = (uint16_t)(1 + below(70));

		for (size_t i = 0; i < sizeof value; i++)
			value[i] = (uint8_t)any();
		if (tag != T_FILE && tag != T_ARG && tag != T_PROGRAM && tag != T_UID && tag != T_GID && tag != T_RLIMIT)
			tlv_put(&w, tag, value, below(sizeof value));
	}
	if (below(4))
		tlv_put_text(&w, T_ARG, programs[below(3)]);
	n = w.length;
	if (n)
		memcpy(out, w.data, n);
	tlv_free(&w);
	return n;
}

static struct frame frame_of_any_kind(uint8_t *payload)
{
	struct frame f = { .type = (uint8_t)below(32), .stream = (uint8_t)(below(4) ? below(4) : any()), .flags = (uint16_t)(below(3) ? 0 : odd_number()),
		.session = below(2) ? 1 + below(8) : odd_number(), .offset = odd_number(), .length = (uint32_t)below(200) };

	if (f.type == F_HELLO || f.type == F_POWEROFF)
		f.type = F_PING;
	if (f.type == F_SIGNAL)
		f.offset = below(4) ? 1 + below(64) : odd_number();
	for (uint32_t i = 0; i < f.length; i++)
		payload[i] = (uint8_t)any();
	if (f.type == F_OPEN && below(3)) {
		f.length = (uint32_t)document(payload);
		f.flags = f.flags & FRAME_MORE;
		f.offset = 0;
	}
	if (f.type == F_DATA && below(20) == 0)
		f.length = FRAME_PAYLOAD_MAX;
	return f;
}

static int still_alive(struct peer *p)
{
	struct frame f = { .type = F_PING, .stream = STREAM_NONE, .offset = any() };
	uint64_t wanted = f.offset;

	if (peer_send(p, f, NULL))
		return 0;
	for (int64_t until = clock_ms() + 20000; clock_ms() < until;) {
		if (peer_next(p, &f, 20000) != 1)
			return 0;
		if (f.type == F_PONG && f.offset == wanted)
			return 1;
	}
	return 0;
}

/* The frames that freeze and wake, close together: every one may come before an earlier one is done. */
static struct frame frame_that_freezes(uint8_t *payload)
{
	struct frame f = frame_of_any_kind(payload);

	f.type = (uint8_t)(F_LEASE + below(3));
	f.offset = below(3) ? below(20) : odd_number();
	if (f.type == F_PAUSE)
		f.flags = (uint16_t)(below(8) ? below(8) : odd_number());
	return f;
}

static void fuzz(const char *program, int most, struct frame (*make)(uint8_t *payload))
{
	static uint8_t payload[FRAME_PAYLOAD_MAX];
	int64_t until = clock_ms() + FUZZ_MS;
	char directory[64];
	pid_t pid = agent_start(program, directory);
	struct peer p;
	struct frame f;
	int sent = 0, status, connections = 1;

	if (!CHECK(pid > 0 && peer_connect(&p, directory) == 0))
		return;
	while (sent < most && clock_ms() < until) {
		f = make(payload);
		if (!CHECK(peer_send(&p, f, payload) == 0))
			break;
		checks_passed--; /* counted once, below */
		sent++;
		while (peer_next(&p, &f, 0) == 1)
			;
		if (below(700) == 0) {
			if (below(2)) /* half a frame is left behind */
				peer_send(&p, (struct frame){ .type = F_DATA, .length = 40000 }, payload);
			peer_close(&p);
			if (!CHECK(peer_connect(&p, directory) == 0))
				break;
			connections++;
		}
	}
	CHECK(still_alive(&p));
	peer_close(&p);
	status = agent_stop(pid, directory);
	if (!CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0))
		printf("       the agent ended with wait status 0x%x (a sanitizer's report is above)\n", status);
	CHECK(sent > 1000);
	printf("fuzz: %d frames, %d connections\n", sent, connections);
}

void test_fuzz(const char *program)
{
	char group[] = "/tmp/caddis-group-test.XXXXXX", path[64];

	fuzz(program, FUZZ_FRAMES, frame_of_any_kind);
	if (!CHECK(mkdtemp(group) != NULL))
		return;
	snprintf(path, sizeof path, "%s/cgroup.freeze", group);
	CHECK(file_put(path, "0", 1, 0600) == 0);
	setenv("CADDIS_TEST_GROUP", group, 1);
	fuzz(program, FUZZ_FRAMES / 10, frame_that_freezes);
	unsetenv("CADDIS_TEST_GROUP");
	unlink(path);
	rmdir(group);
}
