/* Signals as events of the poll loop, and the end of this process by one of them. */
#ifndef CADDIS_SIGNALS_H
#define CADDIS_SIGNALS_H

#include <signal.h>

/* Blocks every signal and returns a descriptor (close-on-exec) to poll and to take them from; -1 with errno. */
int signals_open(void);
/* The next signal that came, 0 when there is none. What the caller's parent had set to be ignored is not told. */
int signals_take(int fd);
/* Ends this process by `number`, without a core file of its own; as exit status 128 + number if that signal does not kill. */
_Noreturn void signals_die(int number);

#endif
