/*
 * The tests' caddisd: one client under test, one listener, played by hand (rig_expect, rig_say) or by the real process-side library (`rig.real`), with connections that
 * break when the test says so.
 */
#ifndef CADDIS_RIG_H
#define CADDIS_RIG_H

#include <sys/types.h>

#include "channel.h"
#include "document.h"
#include "process.h"

#define RIG_SESSION 0x1234u

extern int checks_passed, checks_failed;
int check_(int ok, const char *file, int line, const char *what);
#define CHECK(condition) check_((condition) != 0, __FILE__, __LINE__, #condition)

/* The programs under test (sanitizers) and the musl builds. */
extern const char *hook_path, *stub_path, *hook_musl_path, *self_path;
uint64_t any(void); /* xorshift64*, seeded by CADDIS_TEST_SEED, else 1 */

struct rig {
	char dir[64], socket[96];
	int listener;
	struct channel channel;
	struct assembler documents;
	uint8_t *open; /* the last whole OPEN document */
	size_t open_length;
	pid_t pid; /* 0: reaped */
	int status, in, out, err; /* our ends of the client's stdio, -1: none */
	char text[2][70000]; /* what it wrote, unless `sink` takes it */
	size_t length[2];
	void (*sink)(struct rig *r, const uint8_t *bytes, size_t length);
	int slow[2]; /* do not read its stdout, stderr */
	uint64_t sunk;
	/* real: */
	struct processes *processes;
	int real, opens, breaks_left;
	uint64_t session, passed, break_at, break_every;
	/* by hand: */
	struct frame last;
	uint8_t payload[FRAME_PAYLOAD_MAX];
};

void rig_make(struct rig *r);
/* Listens at <dir>/jobs/slurm-1/step.sock and <dir>/hook.sock alike (the second is a link). */
void rig_listen(struct rig *r);
/*
 * Starts `program` with argv; fds of -1 are pipes to the rig. env: additional variables, NULL-ended, or NULL. Runs in a process group of its own.
 */
void rig_start(struct rig *r, const char *program, char *const argv[], char *const env[], const int fds[3]);
/* caddis-hook --run DIR exec WORDS... with CADDIS_KEY=slurm-1. */
void rig_exec(struct rig *r, char *const words[]);
/* One turn of at most `ms`. */
void rig_turn(struct rig *r, int ms);
/* By hand: turns until a frame of `type` came (others are dropped); 0 after 10 s. */
int rig_expect(struct rig *r, uint8_t type);
/* By hand: accepts the client and takes its whole OPEN. */
int rig_open(struct rig *r);
void rig_say(struct rig *r, uint8_t type, uint8_t stream, uint16_t flags, uint64_t offset, const void *payload, size_t length);
void rig_say_as(struct rig *r, uint64_t session, uint8_t type, uint8_t stream, uint16_t flags, uint64_t offset, const void *payload, size_t length);
void rig_exit(struct rig *r, uint32_t kind, uint32_t value, uint16_t flags, uint64_t out, uint64_t err, const char *message);
void rig_attached(struct rig *r, uint64_t in, uint64_t out, uint64_t err);
void rig_break(struct rig *r);
/* Turns until the client ended; 1, or 0 after `ms` (then it is killed). */
int rig_wait(struct rig *r, int ms);
/* Turns until stdout (0) or stderr (1) contains `text`. */
int rig_reads(struct rig *r, int which, const char *text);
void rig_end(struct rig *r);
/* Counts entries with `tag` in the OPEN document; *first its first value. */
size_t rig_tags(const struct rig *r, uint16_t tag, const uint8_t **first, uint32_t *length);
int exited(const struct rig *r, int code);
int signalled(const struct rig *r, int number);

#endif
