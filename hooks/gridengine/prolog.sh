#!/bin/sh
# Grid Engine prolog (prolog root@/usr/lib/caddis/gridengine/prolog.sh): asks caddisd to make the job's machine.
# Runs as root, under the job's limits (h_vmem sets RLIMIT_AS), and its stdout and stderr are the user's output files.
# Any exit status but 0 and 99 would put the whole queue into E: 99 sends the job back to the queue.

CADDIS_HOOK=/usr/sbin/caddis-hook
CADDIS_UNREACHABLE_DELAY=10
[ ! -r /etc/caddis/hooks.env ] || . /etc/caddis/hooks.env

"$CADDIS_HOOK" prolog gridengine
status=$?
case $status in
0 | 99) exit $status ;;
esac

# caddisd is away (69), broken (64, 70), or its client is missing (126, 127). Grid Engine would start the job again within a
# second, so this slot is held for a while: a dead node must not spin through the queue. Below script_timeout (120 s).
case $CADDIS_ON_UNAVAILABLE in
native) exit 0 ;;
esac
logger -t caddis -p daemon.err "prolog of $JOB_ID.$SGE_TASK_ID: $CADDIS_HOOK ended with $status; back to the queue" 2>/dev/null
sleep "$CADDIS_UNREACHABLE_DELAY"
exit 99
