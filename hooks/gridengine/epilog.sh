#!/bin/sh
# Grid Engine epilog (epilog root@/usr/lib/caddis/gridengine/epilog.sh): tells caddisd that the job is over.
# Exits 0 whatever happens: anything else would put the queue into E and run the job again.

# The environment is the job's own (qsub -v, -V), and this is root: none of it may say which programs run here, whose step this would be, or what the site
# has decided. Functions come with it where sh is bash.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset CADDIS_ARGV0 CADDIS_KEY CADDIS_ON_UNAVAILABLE
unset -f cut kill logger read rm sed tr

CADDIS_HOOK=/usr/sbin/caddis-hook
CADDIS_RUN=/run/caddis
[ ! -r /etc/caddis/hooks.env ] || . /etc/caddis/hooks.env

task=$SGE_TASK_ID
[ "$task" = undefined ] && task=1
case "$JOB_ID.$task" in
*[!0-9.]* | .* | *.) exit 0 ;;
esac
job=$CADDIS_RUN/jobs/gridengine-$JOB_ID.$task
# A job that got no machine has a plain file here, with the reason.
[ -L "$job" ] || [ ! -f "$job" ] || rm -f "$job"
# The prolog's word that it may run without one.
[ ! -e "$job.native" ] || rm -f "$job.native"

"$CADDIS_HOOK" epilog gridengine
status=$?
[ "$status" = 0 ] && exit 0

# Nobody else ends the machine of a job when caddisd is away: kill the QEMU whose pid caddisd recorded in a root-only file.
pid=
[ -r "$job/qemu.pid" ] && read -r pid started rest <"$job/qemu.pid"
case $pid in
'' | *[!0-9]* | 0 | 1) ;;
*)
	# The pid may have been used again since: same start time (field 22 of proc(5) stat) and a QEMU, or it is left alone. tr, because the words of cmdline end in NUL.
	now=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20)
	case $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in
	*qemu*-name*) [ "$now" != "$started" ] || kill -KILL "$pid" 2>/dev/null ;;
	esac
	;;
esac
# caddisd's link: without it no step looks for the machine. Its directory goes when caddisd is back.
[ ! -L "$job" ] || rm -f "$job"
logger -t caddis -p daemon.err "epilog of $JOB_ID.$task: $CADDIS_HOOK ended with $status; stopped QEMU ${pid:-(none)}" 2>/dev/null
exit 0
