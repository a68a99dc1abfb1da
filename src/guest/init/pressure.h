#ifndef CADDIS_PRESSURE_H
#define CADDIS_PRESSURE_H

#include "frame.h"
#include "process.h"

/* MemAvailable and MemTotal of this machine as MEM_AVAILABLE and MEM_TOTAL (bytes). */
void pressure_memory(struct tlv_writer *w);
/* The whole PRESSURE document: memory, PSI, load, kills, why the job is frozen (enum freeze_reason, 0: it is not), and what each session and all of them together used. */
void pressure_document(struct tlv_writer *w, struct processes *p, uint64_t oom_kills, unsigned frozen, uint64_t *held_peak_bytes);
/* One value of /proc/meminfo in bytes, e.g. "MemTotal:"; 0 if it is not there. */
uint64_t pressure_meminfo(const char *name);

#endif
