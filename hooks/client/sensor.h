/* Grid Engine's load sensor: `caddis-hook load-sensor [HOST]`. */
#ifndef CADDIS_SENSOR_H
#define CADDIS_SENSOR_H

/*
 * Answers each line on stdin with the complex values of `host` (NULL: this host's name) as caddisd left them in `directory`, until `quit` or the end of input; returns then.
 * When they are missing, old or damaged, the answer is vm_ok 0, no slack and no pressure: the host is closed, and nothing is evicted.
 */
void sensor_run(const char *directory, const char *host);

#endif
