#include "document.h"

#include <stdlib.h>
#include <string.h>

static void forget(struct assembler *a, struct assembler_part *p)
{
	a->bytes -= p->capacity;
	free(p->data);
	*p = (struct assembler_part){ 0 };
}

/* A part that is whole stays until the next call, so that the caller can read it: type 0 with data marks it. */
static void sweep(struct assembler *a)
{
	for (size_t i = 0; i < ASSEMBLER_PARTS; i++)
		if (a->parts[i].data && a->parts[i].type == 0)
			forget(a, &a->parts[i]);
}

static struct assembler_part *find(struct assembler *a, const struct frame *f)
{
	struct assembler_part *unused = NULL;

	for (size_t i = 0; i < ASSEMBLER_PARTS; i++) {
		struct assembler_part *p = &a->parts[i];

		if (p->data && p->type == f->type && p->session == f->session)
			return p;
		if (!p->data && !unused)
			unused = p;
	}
	if (unused)
		*unused = (struct assembler_part){ .session = f->session, .type = f->type };
	return unused;
}

static int append(struct assembler *a, struct assembler_part *p, const struct frame *f)
{
	size_t need = p->length + f->length;

	if (need > DOCUMENT_MAX)
		return -1;
	if (need > p->capacity || !p->data) {
		size_t capacity = p->capacity ? p->capacity : 4096;
		uint8_t *data;

		while (capacity < need)
			capacity *= 2;
		if (a->bytes - p->capacity + capacity > ASSEMBLER_BYTES || !(data = realloc(p->data, capacity)))
			return -1;
		a->bytes += capacity - p->capacity;
		p->data = data;
		p->capacity = capacity;
	}
	if (f->length)
		memcpy(p->data + p->length, f->payload, f->length);
	p->length = need;
	return 0;
}

int assembler_take(struct assembler *a, const struct frame *f, const uint8_t **data, size_t *length)
{
	struct assembler_part *p;

	sweep(a);
	p = find(a, f);
	if (!p)
		return -1;
	if (!p->data && f->offset == 0 && !(f->flags & FRAME_MORE)) {
		*data = f->payload;
		*length = f->length;
		return 1;
	}
	/* Offset 0 begins anew: the sender gave up on an earlier attempt. */
	if (f->offset == 0)
		p->length = 0;
	if (f->offset != p->length || append(a, p, f)) {
		if (p->data)
			forget(a, p);
		return -1;
	}
	if (f->flags & FRAME_MORE)
		return 0;
	p->type = 0;
	*data = p->data;
	*length = p->length;
	return 1;
}

void assembler_reset(struct assembler *a)
{
	for (size_t i = 0; i < ASSEMBLER_PARTS; i++)
		if (a->parts[i].data)
			forget(a, &a->parts[i]);
}

const uint8_t *document_part(const uint8_t *data, size_t length, size_t sent, struct frame *f)
{
	size_t left = length - sent;

	f->length = (uint32_t)(left < FRAME_PAYLOAD_MAX ? left : FRAME_PAYLOAD_MAX);
	f->offset = sent;
	f->flags = (uint16_t)((f->flags & ~FRAME_MORE) | (left > FRAME_PAYLOAD_MAX ? FRAME_MORE : 0));
	return data + sent;
}
