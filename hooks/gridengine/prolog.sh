#!/bin/sh
# Grid Engine prolog (prolog root@/usr/lib/caddis/gridengine/prolog.sh): asks caddisd to make the job's machine.
# Runs as root, under the job's limits (h_vmem sets RLIMIT_AS), and its stdout and stderr are the user's output files.
# Any exit status but 0, 99 and 100 would put the whole queue into E: 99 sends the job back to the queue, 100 puts the job (not the queue) into E.

# The environment is the job's own (qsub -v, -V), and this is root: none of it may say which programs run here, whose step this would be, or what the site
# has decided. Functions come with it where sh is bash.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset CADDIS_ARGV0 CADDIS_KEY CADDIS_ON_UNAVAILABLE
unset -f logger mkdir printf sed sleep

CADDIS_HOOK=/usr/sbin/caddis-hook
CADDIS_RUN=/run/caddis
CADDIS_UNREACHABLE_DELAY=10
[ ! -r /etc/caddis/hooks.env ] || . /etc/caddis/hooks.env

task=$SGE_TASK_ID
[ "$task" = undefined ] && task=1
case "$JOB_ID.$task" in
*[!0-9.]* | .* | *.) exit 100 ;;
esac
job=$CADDIS_RUN/jobs/gridengine-$JOB_ID.$task

# Root's word that this job runs without a machine: without it, or a machine, the starter runs nothing.
allow_native() {
	mkdir -p -m 711 "$CADDIS_RUN" "$CADDIS_RUN/jobs" && : >"$job.native"
}

# What caddisd wants the user to know goes into the output file; the client's own complaints, which end in another start, do not.
message=$("$CADDIS_HOOK" prolog gridengine 2>&1)
status=$?
case $status in
0 | 99 | 100)
	[ -z "$message" ] || printf '%s\n' "$message" >&2
	# No starter is called for a login: it would run on the host. The job's epilog ends the machine, where there is one.
	case $(sed -n 's/^script_file=//p' "$SGE_JOB_SPOOL_DIR/config") in
	QLOGIN | QRLOGIN | INTERACTIVE)
		if [ "$status" = 0 ] && [ -e "$job" ]; then
			printf '%s\n' 'caddis: logins (qlogin, qsh, qrsh without a command) have no machine: use "qrsh COMMAND", e.g. qrsh -pty y bash -l' >&2
			"$CADDIS_HOOK" epilog gridengine
			exit 100
		fi
		;;
	esac
	[ "$status" != 0 ] || [ -L "$job" ] || [ -f "$job" ] || allow_native
	exit $status
	;;
esac

# caddisd is away (69), broken (64, 70), or its client is missing (126, 127). Grid Engine would start the job again within a
# second, so this slot is held for a while: a dead node must not spin through the queue. Below script_timeout (120 s).
case $CADDIS_ON_UNAVAILABLE in
native)
	allow_native
	exit 0
	;;
esac
logger -t caddis -p daemon.err "prolog of $JOB_ID.$SGE_TASK_ID: $CADDIS_HOOK ended with $status ($message); back to the queue" 2>/dev/null
sleep "$CADDIS_UNREACHABLE_DELAY"
exit 99
