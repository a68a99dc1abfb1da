/* The parser: golden frames shared with the TypeScript side, then properties that hold for any chunking and any damage. */
#define _GNU_SOURCE
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

#define FRAMES 200

struct made {
	uint8_t *bytes;
	size_t length, capacity;
	struct frame frames[FRAMES];
	size_t offsets[FRAMES + 1];
};

static void put(struct made *m, const struct frame *f, const uint8_t *payload)
{
	uint8_t *at = m->bytes + m->length;

	frame_header(at, f);
	memcpy(at + FRAME_HEADER, payload, f->length);
	frame_trailer(at + FRAME_HEADER + f->length, f->link);
	m->length += FRAME_HEADER + f->length + FRAME_TRAILER_BYTES;
}

static void make(struct made *m, uint32_t link, uint32_t most)
{
	uint8_t *payload = malloc(FRAME_PAYLOAD_MAX);

	*m = (struct made){ .capacity = FRAMES * (FRAME_HEADER + FRAME_PAYLOAD_MAX + FRAME_TRAILER_BYTES) };
	m->bytes = malloc(m->capacity);
	for (int i = 0; i < FRAMES; i++) {
		struct frame f = { .type = (uint8_t)(i == 0 && link ? F_HELLO : 16 + below(12)), .stream = (uint8_t)below(3), .flags = (uint16_t)any(),
			.length = (uint32_t)below(most + 1), .link = link, .session = any(), .offset = any() };

		for (uint32_t k = 0; k < f.length; k++)
			payload[k] = (uint8_t)any();
		m->offsets[i] = m->length;
		m->frames[i] = f;
		put(m, &f, payload);
	}
	m->offsets[FRAMES] = m->length;
	free(payload);
}

static int same(const struct frame *a, const struct frame *b, const uint8_t *payload)
{
	return a->type == b->type && a->stream == b->stream && a->flags == b->flags && a->length == b->length && a->link == b->link &&
		a->session == b->session && a->offset == b->offset && !memcmp(a->payload, payload, a->length);
}

/* Feeds everything in random pieces; returns how many frames came, -1 when the parser gave up; all that came must be the ones sent, in order. */
static int feed(struct parser *p, const struct made *m, size_t from, size_t to, int first, size_t piece)
{
	struct frame f;
	int n = 0, r;

	while (from < to) {
		size_t space, k = 1 + below(piece);
		uint8_t *at = parser_space(p, &space);

		k = k < space ? k : space;
		k = k < to - from ? k : to - from;
		memcpy(at, m->bytes + from, k);
		parser_fed(p, k);
		from += k;
		while ((r = parser_next(p, &f)) == 1) {
			int i = first + n++;

			if (i >= FRAMES || !same(&f, &m->frames[i], m->bytes + m->offsets[i] + FRAME_HEADER))
				return -2;
		}
		if (r < 0)
			return -1;
	}
	return n;
}

static void chunking(void)
{
	static const size_t pieces[] = { 1, 7, 100, 5000, 200000 };
	struct parser p;
	struct made m;

	for (size_t i = 0; i < 5; i++)
		for (int link_mode = 0; link_mode < 2; link_mode++) {
			make(&m, link_mode ? 4711 : 0, i == 0 ? 300 : FRAME_PAYLOAD_MAX);
			parser_init(&p, link_mode);
			CHECK(feed(&p, &m, 0, m.length, 0, pieces[i]) == FRAMES);
			CHECK(p.dropped == 0);
			parser_free(&p);
			free(m.bytes);
		}
}

/* Garbage before a HELLO is skipped; damage in the middle is followed by silence until the next HELLO, and never by a wrong frame. */
static void damage(void)
{
	for (int round = 0; round < 50; round++) {
		struct made m, again;
		struct parser p;
		uint8_t *at;
		size_t space, where;
		int n;

		make(&m, 4711, 500);
		make(&again, 815, 500);
		parser_init(&p, 1);
		at = parser_space(&p, &space);
		for (size_t i = 0; i < 1000; i++)
			at[i] = (uint8_t)any();
		parser_fed(&p, 1000);
		where = m.offsets[1] + below(m.length - m.offsets[1]);
		m.bytes[where] ^= (uint8_t)(1 + below(255));
		n = feed(&p, &m, 0, m.length, 0, 5000);
		/* A flip inside a payload, session or offset is not the framing's to find; then everything comes (-2: one frame differs). */
		CHECK(n == -2 || (n >= 1 && n <= FRAMES));
		/* What the host does: zeros complete any half-believed frame, then HELLO. */
		for (size_t left = 66000; left;) {
			struct frame f;
			size_t k;

			at = parser_space(&p, &space);
			k = space < left ? space : left;
			memset(at, 0, k);
			parser_fed(&p, k);
			left -= k;
			while (parser_next(&p, &f) == 1)
				;
		}
		CHECK(feed(&p, &again, 0, again.length, 0, 5000) == FRAMES);
		parser_free(&p);
		free(m.bytes);
		free(again.bytes);
	}
}

static void lying(void)
{
	static const uint32_t lengths[] = { FRAME_PAYLOAD_MAX + 1, 0x7fffffff, 0xffffffff };

	for (int i = 0; i < 3; i++) {
		uint8_t header[FRAME_HEADER], *at;
		struct frame f = { .type = F_DATA, .length = lengths[i] };
		struct parser p;
		size_t space;

		parser_init(&p, 0);
		frame_header(header, &f);
		at = parser_space(&p, &space);
		memcpy(at, header, sizeof header);
		parser_fed(&p, sizeof header);
		CHECK(parser_next(&p, &f) == -1);
		parser_free(&p);
	}
}

static size_t unhex(const char *hex, uint8_t *out, size_t most)
{
	size_t n = 0;
	unsigned byte;

	while (n < most && sscanf(hex + 2 * n, "%2x", &byte) == 1)
		out[n++] = (uint8_t)byte;
	return n;
}

static void golden_line(char *line)
{
	static uint8_t bytes[131200], payload[65600];
	char *field[8] = { 0 }, *rest = line;
	struct parser p;
	struct frame f;
	size_t n, k, space;
	uint8_t *at;

	for (int i = 0; i < 8 && rest; i++)
		field[i] = strsep(&rest, " ");
	if (!CHECK(field[6] != NULL))
		return;
	n = unhex(field[0], bytes, sizeof bytes);
	k = field[7] ? unhex(field[7], payload, sizeof payload) : 0;
	parser_init(&p, strtoul(field[4], NULL, 0) != 0);
	/* In link mode only a HELLO is taken from nowhere: the others follow one. */
	p.hunting = 0;
	p.link = (uint32_t)strtoul(field[4], NULL, 0);
	at = parser_space(&p, &space);
	memcpy(at, bytes, n);
	parser_fed(&p, n);
	if (CHECK(parser_next(&p, &f) == 1)) {
		CHECK(f.type == strtoul(field[1], NULL, 0) && f.stream == strtoul(field[2], NULL, 0) && f.flags == strtoul(field[3], NULL, 0));
		CHECK(f.session == strtoull(field[5], NULL, 0) && f.offset == strtoull(field[6], NULL, 0));
		CHECK(f.length == k && !memcmp(f.payload, payload, k));
		f.link = (uint32_t)strtoul(field[4], NULL, 0);
		uint8_t header[FRAME_HEADER];

		frame_header(header, &f);
		CHECK(!memcmp(header, bytes, sizeof header));
	}
	parser_free(&p);
}

static void golden(const char *path)
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t size = 0;
	int lines = 0;

	while (f && getline(&line, &size, f) > 0) {
		line[strcspn(line, "\n")] = 0;
		if (line[0] && line[0] != '#') {
			golden_line(line);
			lines++;
		}
	}
	if (!CHECK(lines > 0))
		printf("       expected golden frames in %s\n", path);
	free(line);
	if (f)
		fclose(f);
}

void test_frames(const char *path)
{
	golden(path);
	chunking();
	damage();
	lying();
}
