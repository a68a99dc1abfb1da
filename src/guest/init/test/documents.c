/* OPEN documents: whatever they hold, the parser of the process side neither crashes nor believes it. */
#define _GNU_SOURCE
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "document.h"
#include "spec.h"

static void assembling(void)
{
	static struct assembler a;
	size_t length = 300000, sent = 0, got = 0;
	uint8_t *bytes = malloc(length);
	const uint8_t *whole = NULL;
	int r = 0;

	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)any();
	while (sent < length) {
		struct frame f = { .type = F_OPEN, .session = 5 }, other = { .type = F_OPEN, .session = 6, .flags = FRAME_MORE, .length = 4, .offset = 4 * (sent / FRAME_PAYLOAD_MAX) };
		const uint8_t *part = document_part(bytes, length, sent, &f);

		f.payload = part;
		sent += f.length;
		r = assembler_take(&a, &f, &whole, &got);
		if (r == 0) {
			other.payload = bytes;
			CHECK(assembler_take(&a, &other, &whole, &got) == 0);
		}
	}
	CHECK(r == 1 && got == length && !memcmp(whole, bytes, length));
	struct frame gap = { .type = F_OPEN, .session = 7, .flags = FRAME_MORE, .length = 4, .offset = 4, .payload = bytes };

	CHECK(assembler_take(&a, &gap, &whole, &got) == -1);
	/* No number of endless documents passes the bound. */
	for (uint64_t s = 100; s < 300; s++)
		for (uint32_t i = 0; i < 200; i++) {
			struct frame f = { .type = F_OPEN, .session = s, .flags = FRAME_MORE, .length = 65536, .offset = 65536ull * i, .payload = bytes };

			if (assembler_take(&a, &f, &whole, &got) < 0)
				break;
		}
	CHECK(a.bytes <= ASSEMBLER_BYTES);
	assembler_reset(&a);
	CHECK(a.bytes == 0);
	free(bytes);
}

static void specs(void)
{
	struct tlv_writer w = { 0 };
	uint8_t file[64] = { 0 };
	const char *why = NULL;
	struct spec s;
	int refused = 0;

	CHECK(spec_parse(&s, NULL, 0, &why) == -1 && why);
	tlv_put_text(&w, T_ARG, "echo");
	tlv_put_text(&w, T_ARG, "");
	tlv_put_text(&w, T_ENV, "A=b");
	tlv_put_u64(&w, T_UID, 1000);
	put32(file + 12, 4);
	memcpy(file + 16, "/a/bcontent", 11);
	tlv_put(&w, T_FILE, file, 27);
	if (CHECK(spec_parse(&s, w.data, w.length, &why) == 0)) {
		CHECK(!strcmp(s.argv[0], "echo") && !strcmp(s.argv[1], "") && !s.argv[2] && !strcmp(s.envp[0], "A=b") && !s.envp[1]);
		CHECK(s.uid == 1000 && s.file_count == 1 && !strcmp(s.files[0].path, "/a/b") && s.files[0].length == 7);
		spec_free(&s);
	}
	/* Every prefix and many damaged copies: parsed or refused, never read beyond (the sanitizers see to that: each copy is exactly as long as it says). */
	for (int i = 0; i < 20000; i++) {
		size_t n = below(w.length + 1);
		uint8_t *copy = malloc(n ? n : 1);

		memcpy(copy, w.data, n);
		for (uint64_t k = below(4); k && n; k--)
			copy[below(n)] = (uint8_t)any();
		if (spec_parse(&s, copy, n, &why))
			refused++;
		else
			spec_free(&s);
		free(copy);
	}
	CHECK(refused > 1000 && refused < 20000);
	tlv_free(&w);
}

void test_documents(void)
{
	assembling();
	specs();
}
