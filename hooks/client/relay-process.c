#include "relay-process.h"

#include "process.h"

/* Commands of one step at a time; a script that starts more waits for none, it is told so. */
#define RELAYS 64

static void *start(int (*send)(void *user, const struct frame *f, const void *payload), void *user)
{
	struct process_host host = { .user = user, .send = send, .most = RELAYS };

	return processes_new(&host);
}

static void frame(void *relay, const struct frame *f) { processes_frame(relay, f); }
static void detach(void *relay) { processes_detach_all(relay); }
static void watch(void *relay, struct pollset *set) { processes_watch(relay, set); }
static int timeout(void *relay) { return processes_timeout(relay); }
static void work(void *relay, const struct pollset *set) { processes_work(relay, set); }
static void reap(void *relay) { processes_reap(relay); }
static void end(void *relay) { processes_free(relay); }

const struct shim_relay_ops relay_process_ops = { start, frame, detach, watch, timeout, work, reap, end };
