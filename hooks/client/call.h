/* The OPEN document: everything about this process that its native counterpart would have had. */
#ifndef CADDIS_CALL_H
#define CADDIS_CALL_H

#include "frame.h"
#include "terminal.h"

struct call {
	const char *verb; /* NULL: a relayed command */
	const char *first_arg; /* goes before args; NULL: none */
	char *const *args;
	int keep_caddis_variables; /* else CADDIS_ARGV0 and CADDIS_KEY are dropped from the environment */
};

/*
 * Writes the document; `session` 0 for a new one. document->failed: it is larger than DOCUMENT_MAX or there is no memory. The caller frees it with tlv_free.
 */
void call_describe(const struct call *c, const struct terminal *t, uint64_t session, struct tlv_writer *document);

#endif
