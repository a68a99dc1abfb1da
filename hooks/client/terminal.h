/* The caller's terminal: described for the other side, raw while a session is attached, as it was on every way out. */
#ifndef CADDIS_TERMINAL_H
#define CADDIS_TERMINAL_H

#include <sys/ioctl.h>
#include <termios.h>

struct terminal {
	int is_terminal, raw;
	struct termios normal;
	struct winsize size;
};

/* A session gets a terminal when both its input and its output are one: `cmd | filter` typed at a shell must stay a pipe. */
void terminal_look(struct terminal *t);
/* Every key goes through as a byte. Nothing happens in the background: it is tried again after SIGCONT. */
void terminal_raw(struct terminal *t);
void terminal_restore(struct terminal *t);
/* Reads the size anew. */
void terminal_measure(struct terminal *t);

#endif
