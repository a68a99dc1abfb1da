/* Whole sessions against a live agent: echo, exit statuses, and 5 MB through stdout while the link is cut at random. */
#define _GNU_SOURCE
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "clock.h"
#include "peer.h"

#define TOTAL 5000000u
#define CUT_EVERY (TOTAL / 15)

struct taken {
	uint64_t bytes[3];
	uint32_t hash[3]; /* FNV-1a */
	char text[3][512];
	uint32_t kind, value;
	int exited;
};

static void open_session(struct peer *p, uint64_t id, const char *script, int with_stdin)
{
	struct tlv_writer w = { 0 };

	tlv_put_text(&w, T_ARG, "/bin/sh");
	tlv_put_text(&w, T_ARG, "-c");
	tlv_put_text(&w, T_ARG, script);
	tlv_put_text(&w, T_ENV, "PATH=/usr/bin:/bin");
	if (!with_stdin)
		tlv_put(&w, T_STDIN_NULL, "", 0);
	peer_send(p, (struct frame){ .type = F_OPEN, .stream = STREAM_NONE, .session = id, .length = (uint32_t)w.length }, w.data);
	tlv_free(&w);
}

static void take(struct peer *p, struct taken *t, const struct frame *f)
{
	uint64_t skip = t->bytes[f->stream] - f->offset;

	if (!CHECK(f->offset <= t->bytes[f->stream] && f->stream > 0 && f->stream < 3))
		return;
	checks_passed--;
	for (uint64_t i = skip; i < f->length; i++) {
		uint64_t at = t->bytes[f->stream]++;

		t->hash[f->stream] = (t->hash[f->stream] ^ f->payload[i]) * 16777619u;
		if (at < sizeof t->text[0] - 1)
			t->text[f->stream][at] = (char)f->payload[i];
	}
	peer_send(p, (struct frame){ .type = F_ACK, .stream = f->stream, .session = f->session, .offset = t->bytes[f->stream] }, NULL);
}

/* One frame further; 1 when the session is over and acknowledged, -1 when nothing comes any more. */
static int step(struct peer *p, struct taken *t, uint64_t id, uint64_t ends[3])
{
	struct frame f;

	if (peer_next(p, &f, 20000) != 1)
		return -1;
	if (f.session != id)
		return 0;
	if (f.type == F_DATA)
		take(p, t, &f);
	if (f.type == F_EXIT && f.length >= 24) {
		t->exited = 1;
		t->kind = get32(f.payload);
		t->value = get32(f.payload + 4);
		ends[1] = get64(f.payload + 8);
		ends[2] = get64(f.payload + 16);
	}
	if (!t->exited || t->bytes[1] != ends[1] || t->bytes[2] != ends[2])
		return 0;
	peer_send(p, (struct frame){ .type = F_EXIT_ACK, .stream = STREAM_NONE, .session = id }, NULL);
	return 1;
}

static int finish(struct peer *p, struct taken *t, uint64_t id)
{
	uint64_t ends[3] = { 0 };
	int r;

	while ((r = step(p, t, id, ends)) == 0)
		;
	return r;
}

static int opened(struct peer *p, uint64_t id)
{
	struct frame f;

	while (peer_next(p, &f, 20000) == 1)
		if (f.type == F_OPENED && f.session == id)
			return 1;
	return 0;
}

static void simple(struct peer *p)
{
	struct taken t = { 0 };

	open_session(p, 11, "echo out; echo err >&2; exit 7", 0);
	CHECK(finish(p, &t, 11) == 1 && t.kind == EXIT_STATUS && t.value == 7);
	CHECK(!strcmp(t.text[1], "out\n") && !strcmp(t.text[2], "err\n"));

	t = (struct taken){ 0 };
	open_session(p, 12, "kill -USR1 $$; sleep 5", 0);
	CHECK(finish(p, &t, 12) == 1 && t.kind == EXIT_SIGNAL && t.value == 10);

	t = (struct taken){ 0 };
	open_session(p, 13, "cat; echo end", 1);
	peer_send(p, (struct frame){ .type = F_DATA, .session = 13, .length = 5 }, "hallo");
	peer_send(p, (struct frame){ .type = F_DATA, .session = 13, .length = 5 }, "hallo"); /* repeated: taken once */
	peer_send(p, (struct frame){ .type = F_EOF, .session = 13, .offset = 5 }, NULL);
	CHECK(finish(p, &t, 13) == 1 && t.value == 0 && !strcmp(t.text[1], "halloend\n"));

	/* What the host has its users told: one line, whatever it holds. */
	t = (struct taken){ 0 };
	open_session(p, 14, "read line; echo after >&2", 1);
	CHECK(opened(p, 14));
	peer_send(p, (struct frame){ .type = F_NOTE, .stream = STREAM_NONE, .length = 9 }, "be\nquick!");
	peer_send(p, (struct frame){ .type = F_DATA, .session = 14, .length = 3 }, "go\n");
	CHECK(finish(p, &t, 14) == 1 && !strcmp(t.text[2], "be quick!\nafter\n"));

	/* A session that was acknowledged is forgotten. */
	uint8_t delivered[24] = { 0 };
	struct frame f = { .type = F_ATTACH, .stream = STREAM_NONE, .session = 13, .length = 24 };

	peer_send(p, f, delivered);
	while (peer_next(p, &f, 5000) == 1 && f.type != F_ATTACHED)
		;
	CHECK(f.type == F_ATTACHED && f.session == 13 && f.flags == 0);
}

static uint32_t expected_hash(void)
{
	uint32_t hash = 0;
	char line[32];

	for (uint32_t done = 0, i = 1; done < TOTAL; i++) {
		int n = snprintf(line, sizeof line, "%u\n", i);

		for (int k = 0; k < n && done < TOTAL; k++, done++)
			hash = (hash ^ (uint8_t)line[k]) * 16777619u;
	}
	return hash;
}

static void with_cuts(struct peer *p, const char *directory)
{
	struct taken t = { 0 };
	uint64_t ends[3] = { 0 };
	int cuts = 0, r = 0;
	uint64_t next_cut = below(CUT_EVERY);

	open_session(p, 21, "seq 1 10000000 | head -c 5000000; exit 3", 0);
	while (r == 0) {
		uint8_t delivered[24] = { 0 };

		r = step(p, &t, 21, ends);
		if (r || t.bytes[1] < next_cut)
			continue;
		/* Further apart than a frame is long: how many cuts there are does not depend on how the bytes fall into frames. */
		next_cut = (uint64_t)++cuts * CUT_EVERY + below(CUT_EVERY / 2);
		peer_close(p);
		if (!CHECK(peer_connect(p, directory) == 0))
			return;
		t.exited = 0;
		put64(delivered + 8, t.bytes[1]);
		put64(delivered + 16, t.bytes[2]);
		peer_send(p, (struct frame){ .type = F_ATTACH, .stream = STREAM_NONE, .session = 21, .length = 24 }, delivered);
	}
	CHECK(r == 1 && t.kind == EXIT_STATUS && t.value == 3);
	CHECK(t.bytes[1] == TOTAL && t.hash[1] == expected_hash());
	CHECK(cuts >= 10);
	printf("sessions: %u bytes over %d cuts\n", TOTAL, cuts);
}

void test_sessions(const char *program)
{
	char directory[64];
	pid_t pid = agent_start(program, directory);
	struct peer p;
	int status;

	if (!CHECK(pid > 0 && peer_connect(&p, directory) == 0))
		return;
	simple(&p);
	with_cuts(&p, directory);
	peer_close(&p);
	status = agent_stop(pid, directory);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
