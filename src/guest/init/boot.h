/* The first steps of PID 1, in the initramfs. */
#ifndef CADDIS_BOOT_H
#define CADDIS_BOOT_H

/* The cgroup of all sessions together; each is a group below. */
#define SESSIONS_GROUP "/sys/fs/cgroup/caddis"

/* Mounts the kernel's file systems and loads /modules/order. Failures go to the kernel's log; what is missing shows later by name. */
void boot_machine(void);
/* Opens caddis.ctl and caddis.bulk (in the order of link.h), waiting for the devices; -1 after 30 s. */
int boot_ports(int fds[2]);

#endif
