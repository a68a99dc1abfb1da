/* A session that leaves this process for one on another host (MOVED), or comes from there (RESUME). Part of the stdio side (stdio_side.h). */
#ifndef CADDIS_STDIO_MOVE_H
#define CADDIS_STDIO_MOVE_H

#include "frame.h"

struct stdio;

/* MOVED: what was received is still delivered, for so long as a reader may need to wake up; then the answer goes out. */
void move_begin(struct stdio *s, int status);
/* In each turn after move_begin. */
void move_work(struct stdio *s);
/* Milliseconds until the rest is given up, -1: nothing is moving. */
int move_timeout(const struct stdio *s);
/* RESUME: puts back what the scheduler truncated, takes the positions, and wants ATTACH. May block for as long as the copying takes. NULL, or what was wrong. */
const char *move_resume(struct stdio *s, const struct frame *f);

#endif
