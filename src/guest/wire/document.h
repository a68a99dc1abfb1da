/* Documents that span several frames (FRAME_MORE): put together on arrival, cut up on sending. */
#ifndef CADDIS_DOCUMENT_H
#define CADDIS_DOCUMENT_H

#include "frame.h"

/* Unfinished documents at a time: more than a node starts steps at once; each is bounded by DOCUMENT_MAX and all by ASSEMBLER_BYTES. */
#define ASSEMBLER_PARTS 64
#define ASSEMBLER_BYTES (16u << 20)

struct assembler_part {
	uint64_t session;
	uint8_t type;
	uint8_t *data;
	size_t length, capacity;
};
struct assembler {
	struct assembler_part parts[ASSEMBLER_PARTS];
	size_t bytes;
};

/*
 * Takes a frame that carries (a part of) a document. Returns 1 when the document is whole: *data (valid until the next call or assembler_reset) and *length;
 * 0 when more is to come; -1 when the parts do not fit together or a bound was passed: what there was is forgotten.
 */
int assembler_take(struct assembler *a, const struct frame *f, const uint8_t **data, size_t *length);
/* Forgets everything, e.g. because the link is new. */
void assembler_reset(struct assembler *a);

/*
 * The next frame of a document of `length` bytes of which `sent` are sent: fills flags, offset and length of `f` and returns the payload. The caller adds f->length to
 * sent once the frame is queued; the document is done when FRAME_MORE is not in f->flags.
 */
const uint8_t *document_part(const uint8_t *data, size_t length, size_t sent, struct frame *f);

#endif
