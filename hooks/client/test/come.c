/* A session that comes from another host (RESUME). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kept.h"
#include "move_rig.h"
#include "tests.h"

static void put_kept(struct tlv_writer *w, uint8_t stream, uint64_t delivered, uint64_t length, const char *path)
{
	uint8_t b[24 + 200] = { stream };

	put64(b + 8, delivered);
	put64(b + 16, length);
	memcpy(b + 24, path, strlen(path));
	tlv_put(w, T_KEPT, b, 24 + strlen(path));
}

static void announce(struct rig *r) { rig_say(r, F_OPENED, STREAM_NONE, OPENED_RESUMES, 1, NULL, 0); }

static void resume(struct rig *r, struct tlv_writer *w)
{
	rig_say(r, F_RESUME, STREAM_NONE, 0, 0, w->data, w->length);
	tlv_free(w);
}

static int attaches(struct rig *r, uint64_t out, uint64_t err) { return rig_expect(r, F_ATTACH) && get64(r->payload + 8) == out && get64(r->payload + 16) == err; }

static void ends(struct rig *r, uint64_t out, uint64_t err)
{
	rig_exit(r, EXIT_STATUS, 0, 0, out, err, "");
	CHECK(rig_wait(r, 5000) && exited(r, 0));
}

/* stdout is a file: it holds `now` when the shim starts; "head:0123456789" was kept of a stream that had delivered 10. Returns what is left of the kept file. */
static int comes_back(int flags, const char *now, uint64_t produced, const char *then)
{
	struct tlv_writer w = { 0 };
	int fds[3] = { -1, -1, -1 }, left;
	static struct rig r;

	make(&r);
	close(file(path_of[2], 0, "head:0123456789tail"));
	fds[1] = file(path_of[0], flags, now);
	start(&r, fds);
	announce(&r);
	put_kept(&w, 1, 10, 15, path_of[2]);
	put_kept(&w, 2, 3, KEPT_NONE, "");
	resume(&r, &w);
	CHECK(attaches(&r, 10, 3));
	rig_attached(&r, 0, produced, 3);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, produced, "XYZ", 3);
	rig_say(&r, F_DATA, STREAM_STDERR, 0, 3, "more", 4);
	ends(&r, produced + 3, 7);
	CHECK(holds(path_of[0], then) && !strcmp(r.text[1], "more"));
	left = !access(path_of[2], F_OK);
	close(fds[1]);
	rig_end(&r);
	return left;
}

static void puts_back(void)
{
	CHECK(!comes_back(0, "", 10, "head:0123456789XYZ"));
	CHECK(!comes_back(O_APPEND, "", 10, "head:0123456789XYZ"));
	/* An earlier try had come so far. */
	CHECK(!comes_back(0, "head:0", 10, "head:0123456789XYZ"));
	CHECK(!comes_back(O_APPEND, "head:0", 10, "head:0123456789XYZ"));
	/* Opened for appending by the scheduler, which does not truncate then. */
	CHECK(!comes_back(O_APPEND, "head:0123456789", 10, "head:0123456789XYZ"));
	CHECK(!comes_back(O_APPEND, "head:0123456789*** CANCELLED\n", 10, "head:0123456789*** CANCELLED\nXYZ"));
	CHECK(!comes_back(0, "head:0123456789", 10, "head:0123456789XYZ"));
	/* The guest is older than the output: the file is cut as ever. */
	CHECK(!comes_back(0, "", 4, "head:0123XYZ"));
	CHECK(!comes_back(O_APPEND, "", 4, "head:0123XYZ"));
}

/* `spoil` makes the kept file unusable; the session goes on and the user is told. */
static void cannot(void (*spoil)(const char *kept), const char *why)
{
	struct tlv_writer w = { 0 };
	int fds[3] = { -1, -1, -1 };
	static struct rig r;
	char text[300];

	make(&r);
	spoil(path_of[2]);
	fds[1] = file(path_of[0], 0, "");
	start(&r, fds);
	announce(&r);
	put_kept(&w, 1, 10, 15, path_of[2]);
	resume(&r, &w);
	CHECK(attaches(&r, 10, 0));
	snprintf(text, sizeof text, "caddis: what this job wrote before it was moved cannot be put back from %s: %s\n", path_of[2], why);
	CHECK(rig_reads(&r, 1, text));
	rig_attached(&r, 0, 10, 0);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 10, "XYZ", 3);
	ends(&r, 13, 0);
	CHECK(holds(path_of[0], "XYZ"));
	close(fds[1]);
	rig_end(&r);
}

static void absent(const char *kept) { unlink(kept); }
static void short_file(const char *kept) { close(file(kept, 0, "head")); }
static void fifo(const char *kept) { CHECK(!mkfifo(kept, 0600)); }

static void link_to_another(const char *kept)
{
	CHECK(!symlink("/etc/passwd", kept));
}

static void stays(void)
{
	struct tlv_writer w = { 0 };
	int fds[3] = { -1, -1, -1 };
	static struct rig r;

	/* The kept file is the very file that is written: it is not removed. */
	make(&r);
	fds[1] = file(path_of[0], 0, "head:0123456789");
	start(&r, fds);
	announce(&r);
	put_kept(&w, 1, 10, 15, path_of[0]);
	resume(&r, &w);
	CHECK(attaches(&r, 10, 0) && !access(path_of[0], F_OK));
	close(fds[1]);
	rig_end(&r);

	/* A pipe: there is nothing to put it into. */
	make(&r);
	close(file(path_of[2], 0, "head:0123456789"));
	start(&r, NULL);
	announce(&r);
	put_kept(&w, 1, 10, 15, path_of[2]);
	resume(&r, &w);
	CHECK(attaches(&r, 10, 0) && !access(path_of[2], F_OK));
	rig_attached(&r, 0, 10, 0);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 10, "XYZ", 3);
	ends(&r, 13, 0);
	CHECK(!strcmp(r.text[0], "XYZ") && r.length[1] == 0);
	rig_end(&r);
}

/* Both streams are one file: once is enough, whichever of them names it. */
static void one_file(int stream, int both, int flags)
{
	struct tlv_writer w = { 0 };
	int fds[3] = { -1, -1, -1 };
	static struct rig r;

	make(&r);
	close(file(path_of[2], 0, "head:0123456789"));
	fds[1] = fds[2] = file(path_of[0], flags, "");
	start(&r, fds);
	announce(&r);
	put_kept(&w, (uint8_t)stream, 10, 15, path_of[2]);
	if (both)
		put_kept(&w, (uint8_t)(3 - stream), 0, 15, path_of[2]);
	resume(&r, &w);
	CHECK(attaches(&r, stream == 1 ? 10 : 0, stream == 2 ? 10 : 0) && holds(path_of[0], "head:0123456789"));
	CHECK(access(path_of[2], F_OK));
	rig_say(&r, F_MOVED, STREAM_NONE, 0, 0, NULL, 0);
	CHECK(rig_expect(&r, F_MOVED) && moved(&r, 1, 1) == 15 && moved(&r, 2, 1) == 15);
	silent_end(&r);
	close(fds[1]);
	rig_end(&r);
}

static void large(int flags)
{
	static uint8_t b[3000000], back[sizeof b];
	struct tlv_writer w = { 0 };
	int fds[3] = { -1, -1, -1 }, kept;
	static struct rig r;

	make(&r);
	for (size_t i = 0; i < sizeof b; i++)
		b[i] = pattern(i);
	kept = file(path_of[2], 0, "");
	CHECK(write(kept, b, sizeof b) == (ssize_t)sizeof b);
	close(kept);
	fds[1] = file(path_of[0], flags, "");
	start(&r, fds);
	announce(&r);
	put_kept(&w, 1, 1ull << 40, sizeof b, path_of[2]);
	resume(&r, &w);
	CHECK(attaches(&r, 1ull << 40, 0));
	CHECK(pread(fds[1], back, sizeof back, 0) == (ssize_t)sizeof b && !memcmp(b, back, sizeof b));
	close(fds[1]);
	rig_end(&r);
}

/* Input that an earlier shim had sent is not sent again: a file is read from where that one stood. */
static void input(int to_file)
{
	struct tlv_writer w = { 0 };
	int fds[3] = { -1, -1, -1 };
	static struct rig r;

	make(&r);
	fds[0] = to_file ? file(path_of[1], 0, "0123456789") : -1;
	start(&r, fds);
	announce(&r);
	resume(&r, &w);
	CHECK(attaches(&r, 0, 0));
	rig_attached(&r, 7, 0, 0);
	if (!to_file)
		CHECK(write(r.in, "789", 3) == 3);
	CHECK(rig_expect(&r, F_DATA) && r.last.stream == STREAM_STDIN && r.last.offset == 7 && r.last.length == 3 && !memcmp(r.payload, "789", 3));
	if (to_file)
		close(fds[0]);
	rig_end(&r);
}

/* The connection breaks between OPENED and RESUME, then after it: put back once, positions kept. */
static void over_broken_connections(void)
{
	struct tlv_writer w = { 0 };
	int fds[3] = { -1, -1, -1 };
	static struct rig r;

	make(&r);
	close(file(path_of[2], 0, "head:0123456789"));
	fds[1] = file(path_of[0], 0, "");
	start(&r, fds);
	announce(&r);
	for (int i = 0; i < 5; i++)
		rig_turn(&r, 20);
	rig_break(&r);
	CHECK(rig_open(&r));
	for (int i = 0; i < 2; i++) {
		announce(&r);
		for (int k = 0; k < 5; k++) {
			rig_turn(&r, 20);
			CHECK(r.last.type != F_ATTACH);
		}
		put_kept(&w, 1, 10, 15, path_of[2]);
		resume(&r, &w);
		CHECK(attaches(&r, 10, 0));
		if (i == 0) {
			rig_break(&r);
			CHECK(rig_open(&r));
		}
	}
	rig_attached(&r, 0, 10, 0);
	rig_say(&r, F_DATA, STREAM_STDOUT, 0, 10, "XYZ", 3);
	ends(&r, 13, 0);
	CHECK(holds(path_of[0], "head:0123456789XYZ") && r.length[1] == 0);
	close(fds[1]);
	rig_end(&r);
}

static void refused(int announced, uint16_t flags, const void *document, size_t length)
{
	static struct rig r;

	make(&r);
	start(&r, NULL);
	if (announced)
		announce(&r);
	else
		open_now(&r);
	rig_say(&r, F_RESUME, STREAM_NONE, flags, 0, document, length);
	CHECK(rig_wait(&r, 5000) && exited(&r, 70) && rig_reads(&r, 1, "broke the protocol"));
	rig_end(&r);
}

static void refusals(void)
{
	struct tlv_writer w = { 0 };
	uint8_t nul[26] = { 1 };

	put_kept(&w, 1, 0, KEPT_NONE, "");
	refused(0, 0, w.data, w.length);
	refused(1, FRAME_MORE, w.data, w.length);
	refused(1, 0, w.data, w.length - 1);
	w.length = 0;
	put_kept(&w, 0, 0, KEPT_NONE, "");
	refused(1, 0, w.data, w.length);
	w.length = 0;
	tlv_put(&w, T_KEPT, nul, 20);
	refused(1, 0, w.data, w.length);
	w.length = 0;
	nul[24] = '/';
	tlv_put(&w, T_KEPT, nul, 26);
	refused(1, 0, w.data, w.length);
	tlv_free(&w);
}

/* The RESUME of the golden frames is the one that the TypeScript side writes. */
static void golden(void)
{
	static char line[400000], hex[2000];
	static struct kept kept[2];
	uint8_t bytes[1000];
	FILE *f = fopen(GOLDEN, "re");
	unsigned type = 0, byte;
	size_t n = 0;

	while (f && type != F_RESUME && fgets(line, sizeof line, f))
		if (sscanf(line, "%*s %u %*s %*s %*s %*s %*s %1999s", &type, hex) != 2)
			type = 0;
	if (f)
		fclose(f);
	if (!CHECK(type == F_RESUME))
		return;
	while (sscanf(hex + 2 * n, "%2x", &byte) == 1)
		bytes[n++] = (uint8_t)byte;
	CHECK(!kept_parse(bytes, n, kept));
	CHECK(kept[0].delivered == 10 && kept[0].length == 15 && !strcmp(kept[0].path, "/home/u/.caddis-kept"));
	CHECK(kept[1].delivered == 3 && kept[1].length == KEPT_NONE && !kept[1].path[0]);
}

/* Whatever a RESUME holds: parsed or refused, never read beyond. */
static void any_document(void)
{
	struct tlv_writer w = { 0 };
	static struct kept kept[2];
	int refused_ones = 0;

	put_kept(&w, 1, 10, 15, "/some/where");
	put_kept(&w, 2, 1ull << 40, KEPT_NONE, "");
	CHECK(!kept_parse(w.data, w.length, kept));
	CHECK(kept[0].delivered == 10 && kept[0].length == 15 && !strcmp(kept[0].path, "/some/where"));
	CHECK(kept[1].delivered == 1ull << 40 && kept[1].length == KEPT_NONE && !kept[1].path[0]);
	for (int i = 0; i < 20000; i++) {
		size_t n = any() % (w.length + 1);
		uint8_t *copy = malloc(n ? n : 1);

		memcpy(copy, w.data, n);
		for (uint64_t k = any() % 4; k && n; k--)
			copy[any() % n] = (uint8_t)any();
		refused_ones += kept_parse(copy, n, kept) != NULL;
		free(copy);
	}
	CHECK(refused_ones > 1000 && refused_ones < 20000);
	tlv_free(&w);
}

/* Frames of the session in any order and of any content: the client ends in one of its own ways, or goes on. */
static void any_frames(void)
{
	static const uint8_t types[] = { F_OPENED, F_ATTACHED, F_DATA, F_EOF, F_ACK, F_EXIT, F_LOST, F_MOVED, F_RESUME };
	struct tlv_writer w = { 0 };
	int clean = 0, rounds = 60;
	static struct rig r;

	put_kept(&w, 1, 10, 15, "/no/such/file");
	for (int round = 0; round < rounds; round++) {
		make(&r);
		start(&r, NULL);
		if (any() % 2)
			announce(&r);
		for (int i = 0; i < 12 && r.channel.fd >= 0; i++) {
			uint8_t type = types[any() % sizeof types], b[80];
			int whole = type == F_RESUME && any() % 2;

			for (size_t k = 0; k < sizeof b; k++)
				b[k] = any() % 3 ? 0 : (uint8_t)any();
			rig_say(&r, type, (uint8_t)(any() % 3), any() % 3 ? 0 : (uint16_t)any(), any() % 2 ? 0 : any(), whole ? w.data : b, whole ? w.length : any() % sizeof b);
		}
		for (int i = 0; i < 10 && r.pid; i++)
			rig_turn(&r, 20);
		if (r.pid)
			kill(r.pid, SIGKILL);
		rig_wait(&r, 5000);

		clean += !memmem(r.text[1], r.length[1], "Sanitizer", 9) && !memmem(r.text[1], r.length[1], "runtime error", 13);
		rig_end(&r);
	}
	CHECK(clean == rounds);
	tlv_free(&w);
}

void test_come(void)
{
	puts_back();
	cannot(absent, "open: No such file or directory");
	cannot(short_file, "it holds 4 bytes of 15");
	cannot(fifo, "it is no regular file");
	cannot(link_to_another, "open: Too many levels of symbolic links");
	stays();
	one_file(1, 0, 0);
	one_file(1, 1, O_APPEND);
	one_file(2, 0, 0);
	large(0);
	large(O_APPEND);
	input(0);
	input(1);
	over_broken_connections();
	refusals();
	golden();
	any_document();
	any_frames();
}
