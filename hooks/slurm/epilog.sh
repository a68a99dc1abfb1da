#!/bin/sh
# Slurm Epilog (slurm.conf: Epilog=/usr/lib/caddis/slurm/epilog.sh): tells caddisd that the job is over. Runs as root on each node of the job.
# Always exits 0: any other status drains the node.
trap 'exit 0' EXIT

CADDIS_HOOK=/usr/sbin/caddis-hook
CADDIS_RUN=/run/caddis
PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ ! -r /etc/caddis/hooks.env ] || . /etc/caddis/hooks.env

case $SLURM_JOB_ID in
'' | *[!0-9]*) exit 0 ;;
esac
job=$CADDIS_RUN/jobs/slurm-$SLURM_JOB_ID
# A job that got no machine has a plain file here, with the reason.
[ ! -f "$job" ] || rm -f "$job"

"$CADDIS_HOOK" epilog slurm
status=$?
[ "$status" = 0 ] && exit 0

# Nobody else ends the machine of a job when caddisd is away: kill the QEMU that caddisd recorded in a root-only file.
pid=
[ -r "$job/qemu.pid" ] && read -r pid started rest <"$job/qemu.pid"
case $pid in
'' | *[!0-9]* | 0 | 1) ;;
*)
	# The pid may have been used again since: same start time (field 22 of proc(5) stat) and a QEMU, or it is left alone.
	now=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20)
	case $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in
	*qemu*-name*) [ "$now" != "$started" ] || kill -KILL "$pid" 2>/dev/null ;;
	esac
	;;
esac
[ ! -L "$job" ] || rm -f "$job"
logger -t caddis -p daemon.err "epilog of job $SLURM_JOB_ID: $CADDIS_HOOK ended with $status; stopped QEMU ${pid:-(none)}" 2>/dev/null
exit 0
