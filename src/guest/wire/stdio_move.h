/* A session that leaves this process for one on another host (MOVED), or comes from there (RESUME). Part of the stdio side (stdio_side.h). */
#ifndef CADDIS_STDIO_MOVE_H
#define CADDIS_STDIO_MOVE_H

#include "frame.h"

struct stdio;

/* MOVED: what was received is still delivered, for so long as a reader may need to wake up; then the answer goes out. With MOVED_END: it has arrived for good. */
void move_asked(struct stdio *s, const struct frame *f);
/* In each turn after move_asked. */
void move_work(struct stdio *s);
/* Milliseconds until the rest, or the word to end, is given up; -1: nothing is waited for. */
int move_timeout(const struct stdio *s);
/* The answer is queued and nobody needs this process any more. */
int move_may_end(const struct stdio *s);
/* RESUME: puts back what the scheduler truncated, takes the positions, and wants ATTACH. May block for as long as the copying takes. NULL, or what was wrong. */
const char *move_resume(struct stdio *s, const struct frame *f);

#endif
