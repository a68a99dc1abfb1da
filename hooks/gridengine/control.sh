#!/bin/sh
# suspend_method, resume_method (queue.conf), migr_command and ckpt_command (*.ckpt): freezes, thaws, moves or saves the job's machine.
# Called as `control.sh suspend|resume|migrate|checkpoint $job_pid`, as the job's user, without the job's streams; what it does replaces Grid Engine's own signal.

# With these in a job's environment the client would be a step of it, and nothing would be suspended.
unset CADDIS_ARGV0 CADDIS_KEY
CADDIS_HOOK=/usr/sbin/caddis-hook
CADDIS_RUN=/run/caddis
[ ! -r /etc/caddis/hooks.env ] || . /etc/caddis/hooks.env

task=$SGE_TASK_ID
[ "$task" = undefined ] && task=1
job=$CADDIS_RUN/jobs/gridengine-$JOB_ID.$task
if [ -L "$job" ]; then
	# Nobody says it again, and the job counts as suspended or moved from now on: a caddisd that is being started again is waited for, as steps do.
	"$CADDIS_HOOK" --connect-timeout 120 "$1" gridengine
	status=$?
	# 3: caddisd says that this job cannot be moved with its state. A job that stayed would count as suspended, and run on.
	[ "$1" = migrate ] && [ "$status" = 3 ] || exit "$status"
fi

# A job without a machine, or whose machine cannot be saved: what sge_shepherd would have done itself.
case $2 in
'' | *[!0-9]* | 0 | 1) exit 1 ;;
esac
# -s: dash takes "kill -STOP -- -PID" for a wrong number.
case $1 in
suspend) kill -s STOP -- "-$2" ;;
resume) kill -s CONT -- "-$2" ;;
# It cannot be moved with its state: it starts afresh elsewhere.
migrate) kill -s KILL -- "-$2" ;;
esac
