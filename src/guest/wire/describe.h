/* Describes this process as an OPEN document: what it was asked to run, as whom, where and with which limits. */
#ifndef CADDIS_DESCRIBE_H
#define CADDIS_DESCRIBE_H

#include "frame.h"

/* `session` non-zero: come back to that one. `tty`: descriptor 0 is the terminal to be carried. */
void describe_process(struct tlv_writer *w, const char *verb, char **argv, char **env, uint64_t session, int tty);
/* Rows, columns, pixels of a terminal: 8 bytes as in TTY and WINSIZE. Returns -1 when fd is none. */
int describe_terminal(int fd, uint8_t size[8]);

#endif
