/* The kernel's log: ours into it, out-of-memory kills out of it. */
#ifndef CADDIS_OOM_H
#define CADDIS_OOM_H

#include <sys/types.h>

/* Opens /dev/kmsg for reading from now on; -1 with errno. */
int kernel_log_open(void);
/* Takes all lines that are there; calls `killed` for each process that the out-of-memory killer took. */
void kernel_log_read(int fd, void (*killed)(void *user, pid_t pid, const char *name), void *user);
/* Level as in LOG. */
void kernel_log_write(int level, const char *text);
/* Protects this process from the out-of-memory killer and sets the kernel to kill rather than to panic or to stall. */
void oom_prepare(void);
/* Out-of-memory kills since boot. */
unsigned long long oom_count(void);

#endif
