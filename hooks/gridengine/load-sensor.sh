#!/bin/sh
# Grid Engine load sensor (load_sensor of sge_conf(5); a bare path, no arguments): tells the qmaster what caddisd measured.
# It must never end by itself: sge_execd does not survive that (docs/decisions/0040-load-sensor-reads-a-file.md).

CADDIS_HOOK=/usr/sbin/caddis-hook
CADDIS_RUN=/run/caddis
[ ! -r /etc/caddis/hooks.env ] || . /etc/caddis/hooks.env

"$CADDIS_HOOK" --run "$CADDIS_RUN" load-sensor && exit 0

# The client is missing or broken: this host takes no job, and loses none.
host=$(uname -n)
trap '' HUP INT TERM PIPE
while read -r word; do
	[ "$word" != quit ] || exit 0
	printf 'begin\n'
	for value in vm_ok vm_jobs vm_mem_slack vm_cpu_slack vm_mem_pressure vm_cpu_pressure vm_io_pressure vm_pressure; do
		printf '%s:%s:0\n' "$host" "$value"
	done
	printf 'end\n'
done
