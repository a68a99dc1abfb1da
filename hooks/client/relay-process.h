/* Runs commands that were called inside the job here on the host, as whoever runs this program. */
#ifndef CADDIS_RELAY_PROCESS_H
#define CADDIS_RELAY_PROCESS_H

#include "shim.h"

extern const struct shim_relay_ops relay_process_ops;

#endif
