/* Inside the process-side library: one session. */
#ifndef CADDIS_SESSION_H
#define CADDIS_SESSION_H

#include "process.h"
#include "ring.h"
#include "scope.h"

/* Milliseconds without output after the main process ended until whoever still holds the pipes is no longer waited for. */
#define DRAIN_GROUP_MS 300 /* no cgroup: others may live on and hold the pipe, as after any program */
#define DRAIN_CGROUP_MS 5000 /* all are being killed: only the kernel's own delay */
/* How long the kernel log's line about an out-of-memory kill may lag behind the kill. */
#define OOM_LINE_MS 200

enum session_state { STARTING, RUNNING, DRAINING, EXITED, GONE };

struct outbound {
	struct ring ring;
	uint64_t sent;
	size_t place;
	int fd, eof_sent, gone; /* gone: nobody reads any more */
	int streams; /* the last read was a large one: more is on its way */
};

struct inbound {
	struct ring ring;
	uint64_t acked; /* last ACK sent */
	size_t place;
	int fd, eof;
};

struct session {
	struct session *next;
	uint64_t id;
	enum session_state state;
	pid_t pid, main_pid; /* pid is 0 once reaped */
	int report;
	size_t report_place;
	struct scope scope;
	int tty, merged;
	struct inbound in;
	struct outbound out[2]; /* streams 1 and 2 */
	uint64_t attach_mark; /* of the ATTACH that the next ATTACHED answers */
	int attached, want_opened, want_attached, want_exit, opened;
	uint32_t exit_kind, exit_value;
	char message[560];
	int64_t deadline_ms;
	int tries;
	uint64_t limit_bytes, oom_seen;
	char limit_origin[128], note[320];
	int noted;
};

int64_t now_ms(void);

/* session.c: life */
void session_open(struct session *s, const struct process_host *host, const uint8_t *document, size_t length);
void session_fail(struct session *s, int error, const char *message);
void session_watch(struct session *s, struct pollset *set);
void session_work(struct session *s, const struct process_host *host, const struct pollset *set);
void session_ended(struct session *s, int status);
void session_oom(struct session *s, pid_t pid, const char *name);
void session_close(struct session *s);

/* streams.c: bytes */
void streams_watch(struct session *s, struct pollset *set);
void streams_read(struct session *s, const struct pollset *set);
/* Sends what may be sent; returns 0 when there was no room for something. */
int streams_send(struct session *s, const struct process_host *host);
void streams_close_output(struct session *s);
int stream_finished(const struct session *s, int i);
/* Each returns NULL or what was wrong with the frame. */
const char *streams_data(struct session *s, const struct frame *f);
const char *streams_eof(struct session *s, const struct frame *f);
const char *streams_ack(struct session *s, const struct frame *f);

#endif
