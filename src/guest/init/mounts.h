#ifndef CADDIS_MOUNTS_H
#define CADDIS_MOUNTS_H

#include "worker.h"

/* `type\tsource\ttarget\toptions`: makes the target and mounts it; done already (same source and target) is fine. */
int mounts_add(struct job *j, const char *text);
/* `source\ttarget`: a bind mount. */
int mounts_bind(struct job *j, const char *text);
/* Makes `path` the relay stub: over what is there, or as a link where nothing is. */
int mounts_stub(struct job *j, const char *path);

#endif
