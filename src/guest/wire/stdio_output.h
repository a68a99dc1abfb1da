/* Delivers one output stream of a session to a descriptor of this process, at the reader's pace. Part of the stdio side (stdio_side.h). */
#ifndef CADDIS_STDIO_OUTPUT_H
#define CADDIS_STDIO_OUTPUT_H

#include "frame.h"
#include "pollset.h"
#include "ring.h"

/* Bytes towards our descriptor: the ring's base is what was delivered, its end what was received. */
struct stdio_output {
	struct ring ring;
	uint64_t acked, file_base, device, inode; /* device, inode: of what the descriptor had open at first */
	size_t place, chunk; /* chunk: most bytes that one write(2) takes without blocking after POLLOUT; 0: no bound */
	int fd, regular, broken, eof_wanted, ended;
};

void output_init(struct stdio_output *o, int fd);
/* Takes DATA: writes what fits, keeps the rest, skips what it has. NULL, or how the peer broke the protocol. */
const char *output_take(struct stdio_output *o, const struct frame *f);
/* Writes what was kept, as far as it fits. */
void output_drain(struct stdio_output *o);
/* What was received and not delivered comes again. */
void output_forget(struct stdio_output *o);
/*
 * The process is older than what was delivered and will produce the bytes from `produced` on again: a regular file that ends where we delivered is cut, anything else gets
 * one line that says so.
 */
void output_roll_back(struct stdio_output *o, uint64_t produced);
/* The stream ended before the session: our reader shall see it. */
void output_shut(struct stdio_output *o);

#endif
