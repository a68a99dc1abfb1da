#!/bin/sh
# Slurm Prolog (slurm.conf: Prolog=/usr/lib/caddis/slurm/prolog.sh): asks caddisd to make the job's machine. Runs as root on each node of the job.
# Always exits 0: any other status drains the node and holds the job.

CADDIS_HOOK=/usr/sbin/caddis-hook
CADDIS_RUN=/run/caddis
PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ ! -r /etc/caddis/hooks.env ] || . /etc/caddis/hooks.env

"$CADDIS_HOOK" prolog slurm
status=$?
[ "$status" = 0 ] && exit 0

# caddisd is away (69), broken (64, 70), or its client is missing (126, 127).
case $CADDIS_ON_UNAVAILABLE in
native) exit 0 ;;
esac
case $SLURM_JOB_ID in
'' | *[!0-9]*) exit 0 ;;
esac
reason="caddis: no machine on ${SLURMD_NODENAME:-this node}: caddisd does not answer (status $status)"
logger -t caddis -p daemon.err "prolog of job $SLURM_JOB_ID: $reason" 2>/dev/null

# Until the job is gone from here, the SPANK plugin fails its steps with this reason: they must not run outside of a machine.
mkdir -p "$CADDIS_RUN/jobs" && rm -f "$CADDIS_RUN/jobs/slurm-$SLURM_JOB_ID" &&
	printf '%s\n' "$reason" >"$CADDIS_RUN/jobs/slurm-$SLURM_JOB_ID"

# This very task: the raw id of an array's last task is the id of the whole array, and Prolog is not told which it is.
# A job that cannot be requeued starts, and fails with the reason; one that was cancelled meanwhile would live again.
task=$(timeout 20 squeue -h -j "$SLURM_JOB_ID" -t R,CF,S -o '%A %F %K' |
	awk -v id="$SLURM_JOB_ID" '$1 == id { print ($3 ~ /^[0-9]+$/) ? $2 "_" $3 : id; exit }')
[ -n "$task" ] && timeout 20 scontrol requeue "$task" ||
	logger -t caddis -p daemon.err "prolog of job $SLURM_JOB_ID: cannot be requeued, will fail" 2>/dev/null
exit 0
