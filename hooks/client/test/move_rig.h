/* What the tests of sessions that move have in common: a client whose output goes to files. */
#ifndef CADDIS_MOVE_RIG_H
#define CADDIS_MOVE_RIG_H

#include "rig.h"

extern char path_of[3][160]; /* of out, err, kept */

/* A directory, its paths, and a daemon that listens there. */
void make(struct rig *r);
/* A client with these descriptors, whose OPEN has come. */
void start(struct rig *r, const int fds[3]);
void open_now(struct rig *r);
/* Makes a file with this text; its descriptor. */
int file(const char *path, int flags, const char *text);
int holds(const char *path, const char *text);
/* A field of the MOVED that came: delivered, position, device, inode. */
uint64_t moved(const struct rig *r, int stream, int field);
void say_end(struct rig *r, int status);
/* It ends with 0 and without a word. */
void silent_end(struct rig *r);

#endif
