#!/bin/sh
# Grid Engine epilog (epilog root@/usr/lib/caddis/gridengine/epilog.sh): tells caddisd that the job is over.
# Exits 0 whatever happens: anything else would put the queue into E and run the job again.

CADDIS_HOOK=/usr/sbin/caddis-hook
CADDIS_RUN=/run/caddis
[ ! -r /etc/caddis/hooks.env ] || . /etc/caddis/hooks.env

"$CADDIS_HOOK" epilog gridengine
status=$?
[ "$status" = 0 ] && exit 0

# Nobody else ends the machine of a job when caddisd is away: kill the QEMU whose pid caddisd recorded in a root-only file.
task=$SGE_TASK_ID
[ "$task" = undefined ] && task=1
case "$JOB_ID.$task" in
*[!0-9.]* | .* | *.) exit 0 ;;
esac
file=$CADDIS_RUN/jobs/gridengine-$JOB_ID.$task/qemu.pid
pid=
[ -r "$file" ] && read -r pid rest <"$file"
case $pid in
'' | *[!0-9]* | 0 | 1) exit 0 ;;
esac
# The pid may have been used again since: only a QEMU is killed. tr, because the words of cmdline end in NUL.
case $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in
*qemu*-name*) kill -KILL "$pid" 2>/dev/null ;;
esac
logger -t caddis -p daemon.err "epilog of $JOB_ID.$task: $CADDIS_HOOK ended with $status; stopped QEMU $pid" 2>/dev/null
exit 0
