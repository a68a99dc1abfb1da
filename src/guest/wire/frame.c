#include "frame.h"

#include <stdlib.h>
#include <string.h>

void frame_header(uint8_t out[FRAME_HEADER], const struct frame *f)
{
	put32(out, FRAME_MAGIC);
	out[4] = f->type;
	out[5] = f->stream;
	put16(out + 6, f->flags);
	put32(out + 8, f->length);
	put32(out + 12, f->link);
	put64(out + 16, f->session);
	put64(out + 24, f->offset);
}

void frame_trailer(uint8_t out[FRAME_TRAILER_BYTES], uint32_t link) { put32(out, link ^ FRAME_TRAILER); }

#define WHOLE (FRAME_HEADER + FRAME_PAYLOAD_MAX + FRAME_TRAILER_BYTES)

int parser_init(struct parser *p, int link_mode)
{
	memset(p, 0, sizeof *p);
	p->capacity = 2 * WHOLE;
	p->link_mode = link_mode;
	p->hunting = link_mode;
	p->buffer = malloc(p->capacity);
	return p->buffer ? 0 : -1;
}

void parser_free(struct parser *p)
{
	free(p->buffer);
	p->buffer = NULL;
}

void parser_reset(struct parser *p)
{
	p->start = p->end = 0;
	p->hunting = p->link_mode;
}

uint8_t *parser_space(struct parser *p, size_t *room)
{
	/* Moving is rare: only when less than one whole frame fits behind what is there. */
	if (p->start && p->capacity - p->end < WHOLE) {
		memmove(p->buffer, p->buffer + p->start, p->end - p->start);
		p->end -= p->start;
		p->start = 0;
	}
	*room = p->capacity - p->end;
	return p->buffer + p->end;
}

void parser_fed(struct parser *p, size_t bytes) { p->end += bytes; }

static int header_ok(const struct parser *p, const uint8_t *h)
{
	if (get32(h) != FRAME_MAGIC || get32(h + 8) > FRAME_PAYLOAD_MAX)
		return 0;
	if (!p->link_mode)
		return get32(h + 12) == 0;
	return h[4] == F_HELLO || (!p->hunting && get32(h + 12) == p->link);
}

/* A place where a HELLO may begin, or where too few bytes are left to tell. */
static void hunt(struct parser *p)
{
	static const uint8_t hello[5] = { 'C', 'D', 'S', '1', F_HELLO };

	while (p->start < p->end) {
		size_t left = p->end - p->start, n = left < sizeof hello ? left : sizeof hello;

		if (!memcmp(p->buffer + p->start, hello, n))
			return;
		p->start++;
		p->dropped++;
	}
}

int parser_next(struct parser *p, struct frame *f)
{
	for (;;) {
		const uint8_t *h = p->buffer + p->start;
		size_t left;

		if (p->hunting) {
			hunt(p);
			h = p->buffer + p->start;
		}
		left = p->end - p->start;
		if (left == 0)
			p->start = p->end = 0;
		if (left < FRAME_HEADER)
			return 0;
		uint32_t length = get32(h + 8);
		size_t whole = FRAME_HEADER + (size_t)length + FRAME_TRAILER_BYTES;

		if (header_ok(p, h)) {
			if (left < whole)
				return 0;
			uint32_t link = get32(h + 12);

			if (get32(h + FRAME_HEADER + length) == (link ^ FRAME_TRAILER)) {
				f->type = h[4];
				f->stream = h[5];
				f->flags = get16(h + 6);
				f->length = length;
				f->link = link;
				f->session = get64(h + 16);
				f->offset = get64(h + 24);
				f->payload = h + FRAME_HEADER;
				p->start += whole;
				if (p->link_mode && f->type == F_HELLO) {
					p->link = link;
					p->hunting = 0;
				}
				return 1;
			}
		}
		if (!p->link_mode)
			return -1;
		p->hunting = 1;
		p->start++;
		p->dropped++;
	}
}

int tlv_next(struct tlv_reader *r, uint16_t *tag, const uint8_t **value, uint32_t *length)
{
	size_t left = (size_t)(r->end - r->p);

	if (left == 0)
		return 0;
	if (left < 8 || get32(r->p + 4) > left - 8)
		return -1;
	*tag = get16(r->p);
	*length = get32(r->p + 4);
	*value = r->p + 8;
	r->p += 8 + *length;
	return 1;
}

void tlv_put(struct tlv_writer *w, uint16_t tag, const void *value, size_t length)
{
	size_t need = w->length + 8 + length;

	if (w->failed)
		return;
	if (length > DOCUMENT_MAX || need > DOCUMENT_MAX) {
		w->failed = 1;
		return;
	}
	if (need > w->capacity) {
		size_t capacity = w->capacity ? w->capacity : 4096;
		uint8_t *data;

		while (capacity < need)
			capacity *= 2;
		if (!(data = realloc(w->data, capacity))) {
			w->failed = 1;
			return;
		}
		w->data = data;
		w->capacity = capacity;
	}
	put16(w->data + w->length, tag);
	put16(w->data + w->length + 2, 0);
	put32(w->data + w->length + 4, (uint32_t)length);
	if (length)
		memcpy(w->data + w->length + 8, value, length);
	w->length = need;
}

void tlv_put_u64(struct tlv_writer *w, uint16_t tag, uint64_t value)
{
	uint8_t b[8];

	put64(b, value);
	tlv_put(w, tag, b, sizeof b);
}

void tlv_put_text(struct tlv_writer *w, uint16_t tag, const char *text) { tlv_put(w, tag, text, strlen(text)); }

void tlv_free(struct tlv_writer *w)
{
	free(w->data);
	memset(w, 0, sizeof *w);
}
