#ifndef CADDIS_THRASH_H
#define CADDIS_THRASH_H

/* Ends the largest process of a cgroup that stands still at its memory limit without ever failing an allocation. To be called about once a second. */
void thrash_end(const char *group);

#endif
