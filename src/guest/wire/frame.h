/*
 * Frames and documents of the Caddis protocol (docs/protocol.md).
 * Shared by caddis-init (guest), caddis-hook (host) and the relay stub.
 */
#ifndef CADDIS_FRAME_H
#define CADDIS_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_MAGIC 0x31534443u
#define FRAME_TRAILER 0x454e4421u
#define FRAME_HEADER 32u
#define FRAME_TRAILER_BYTES 4u
#define FRAME_PAYLOAD_MAX 65536u
#define FRAME_MORE 0x8000u
#define DOCUMENT_MAX (8u << 20)
#define STREAM_WINDOW 262144u
#define PROTOCOL_VERSION 1u

enum frame_type {
	F_HELLO = 1, F_SETUP = 2, F_SETUP_DONE = 3, F_PRESSURE = 4, F_LOG = 5, F_PING = 6, F_PONG = 7, F_POWEROFF = 8, F_CLOCK = 9,
	F_RESIZE = 10, F_LEASE = 11, F_PAUSE = 12, F_WAKE = 13, F_NOTE = 14,
	F_OPEN = 16, F_OPENED = 17, F_ATTACH = 18, F_ATTACHED = 19, F_DATA = 20, F_EOF = 21, F_ACK = 22, F_SIGNAL = 23, F_WINSIZE = 24,
	F_EXIT = 25, F_EXIT_ACK = 26, F_DETACH = 27, F_LOST = 28, F_MOVED = 29, F_RESUME = 30,
};

enum stream { STREAM_STDIN = 0, STREAM_STDOUT = 1, STREAM_STDERR = 2, STREAM_NONE = 255 };
enum exit_kind { EXIT_STATUS = 0, EXIT_SIGNAL = 1, EXIT_NOT_STARTED = 2, EXIT_LOST = 3 };
/* Flags of PAUSE; none of them: thaw. */
enum pause_flags { PAUSE_FREEZE = 1, PAUSE_SYNC = 2, PAUSE_DROP = 4 };
/* Flags of OPENED. */
enum opened_flags { OPENED_MERGED = 1, OPENED_RESUMES = 2 };
/* Flags of MOVED to a stdio side. */
enum moved_flags { MOVED_END = 1 };
enum signal_scope { SIGNAL_SESSION = 0, SIGNAL_MAIN = 1, SIGNAL_FOREGROUND = 2 };

enum tag {
	T_VERB = 1, T_ARG = 2, T_ENV = 3, T_CWD = 4, T_UID = 5, T_GID = 6, T_GROUP = 7, T_UMASK = 8, T_RLIMIT = 9, T_CPU = 10, T_TTY = 11,
	T_STDIO = 12, T_MERGE = 13, T_STDIN_NULL = 14, T_FILE = 15, T_PROGRAM = 16, T_PATH_SEARCH = 17, T_PID = 18, T_SESSION = 19,
	T_PARENT = 20, T_TERMIOS = 21, T_NICE = 22, T_NOTE = 23, T_CWD_ELSE = 24, T_KEPT = 25,
	T_HOSTNAME = 40, T_CLOCK_NS = 41, T_SCRATCH = 42, T_NET = 43, T_MOUNT = 44, T_PASSWD = 45, T_GROUPLINE = 46, T_CPUS = 47,
	T_MEMORY = 48, T_DIR = 49, T_SETUP_FILE = 50, T_NFS_ID = 51, T_SEED = 52, T_STUB = 53, T_HOSTS = 54, T_BIND = 55,
	T_JOB_MEMORY = 56, T_JOB_MARK = 57,
	T_MESSAGE = 60, T_TIMING = 61, T_MEM_AVAILABLE = 62, T_MEM_TOTAL = 63, T_PSI = 64, T_LOADAVG = 65, T_SESSION_STAT = 66,
	T_OOM_KILLS = 67, T_FROZEN = 68, T_JOB_STAT = 69, T_JOB_USE = 70,
};

struct frame {
	uint8_t type, stream;
	uint16_t flags;
	uint32_t length, link;
	uint64_t session, offset;
	const uint8_t *payload; /* into the parser's buffer: valid until the next call */
};

static inline uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t get32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }
static inline uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32; }
static inline void put16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)v; p[1] = (uint8_t)(v >> 8); }
static inline void put32(uint8_t *p, uint32_t v) { put16(p, (uint16_t)v); put16(p + 2, (uint16_t)(v >> 16)); }
static inline void put64(uint8_t *p, uint64_t v) { put32(p, (uint32_t)v); put32(p + 4, (uint32_t)(v >> 32)); }

/* Writes the 32-byte header of `f` (its payload is sent by the caller) into `out`. */
void frame_header(uint8_t out[FRAME_HEADER], const struct frame *f);
/* Writes the trailer that goes with `link`. */
void frame_trailer(uint8_t out[FRAME_TRAILER_BYTES], uint32_t link);

/*
 * Incremental parser. Feed bytes into the space it offers, then take frames until none is left.
 *   parser_space(&p, &room) -> where to read(2) into; parser_fed(&p, n); while ((r = parser_next(&p, &f)) == 1) ...
 * parser_next returns 1 frame, 0 need more bytes, -1 the stream is broken (bad magic, length, link or trailer).
 * In link mode (p.link_mode = 1) a break is not returned: the parser hunts for the next HELLO and counts p.dropped; frames other than HELLO whose link
 * differs from p.link are dropped.
 */
struct parser {
	uint8_t *buffer;
	size_t start, end, capacity;
	uint32_t link;
	int link_mode, hunting;
	uint64_t dropped;
};
int parser_init(struct parser *p, int link_mode); /* -1 when out of memory; takes 2 x (65,536 + 36) bytes */
void parser_free(struct parser *p);
void parser_reset(struct parser *p);
uint8_t *parser_space(struct parser *p, size_t *room);
void parser_fed(struct parser *p, size_t bytes);
int parser_next(struct parser *p, struct frame *f);

/* Document reader: while (tlv_next(&r, &tag, &value, &length) == 1) ...; -1 = cut or malformed. */
struct tlv_reader { const uint8_t *p, *end; };
int tlv_next(struct tlv_reader *r, uint16_t *tag, const uint8_t **value, uint32_t *length);

/* Document writer: grows up to DOCUMENT_MAX; `failed` is set when out of memory or too large. */
struct tlv_writer { uint8_t *data; size_t length, capacity; int failed; };
void tlv_put(struct tlv_writer *w, uint16_t tag, const void *value, size_t length);
void tlv_put_u64(struct tlv_writer *w, uint16_t tag, uint64_t value);
void tlv_put_text(struct tlv_writer *w, uint16_t tag, const char *text);
void tlv_free(struct tlv_writer *w);

#endif
