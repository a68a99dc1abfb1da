#ifndef CADDIS_MODPROBE_H
#define CADDIS_MODPROBE_H

/* Where set-up leaves module options: lines `module option=value ...`. */
#define MODPROBE_OPTIONS "/run/caddis/modules.conf"

/* Loads a module (name or alias) with what it depends on, from /lib/modules/$(uname -r). Returns 0, or 1 if there is none or it does not load. */
int modprobe(const char *name);
/* Loads one file with options; 0 also when it is loaded already, else -1 with errno. */
int modprobe_file(const char *path, const char *options);

#endif
