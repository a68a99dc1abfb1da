#!/bin/sh
# Grid Engine starter_method: runs each step of a job that has a machine inside it, a job that the site
# lets run natively as Grid Engine would itself, and nothing else.
# Runs as the job's user, under the job's limits, so: no programs but the shell's own, until the last exec.

# Of a job's environment, not of ours: the client would take other words for the step's.
unset CADDIS_ARGV0 CADDIS_KEY
CADDIS_HOOK=/usr/sbin/caddis-hook
CADDIS_RUN=/run/caddis
[ ! -r /etc/caddis/hooks.env ] || . /etc/caddis/hooks.env

caddis_job=$SGE_TASK_ID
[ "$caddis_job" = undefined ] && caddis_job=1
caddis_job=$CADDIS_RUN/jobs/gridengine-$JOB_ID.$caddis_job
# A plain file instead of a link: no machine could be made, and this is why.
if [ -f "$caddis_job" ]; then
	read -r reason <"$caddis_job"
	printf '%s\n' "${reason:-caddis: no machine for this job}" >&2
	exit 1
fi
if [ -e "$caddis_job" ]; then
	exec "$CADDIS_HOOK" exec --scheduler gridengine -- "$@"
fi
# Only a prolog says that a job needs none. A task of a parallel job on a further host (qrsh -inherit) had no prolog here.
if [ ! -e "$caddis_job.native" ]; then
	printf '%s\n' "caddis: job $JOB_ID has no machine on this host, and may not run outside of one: parallel jobs of this queue run on one host (allocation_rule \$pe_slots)" >&2
	exit 1
fi

unset caddis_job
# What sge_shepherd's builtin_starter.c does when there is no starter_method.
# The starter's own variables are copied: without a starter_method the job would not see them.
shell_path=$SGE_STARTER_SHELL_PATH
mode=$SGE_STARTER_SHELL_START_MODE
login_shell=$SGE_STARTER_USE_LOGIN_SHELL
unset SGE_STARTER_SHELL_PATH SGE_STARTER_SHELL_START_MODE SGE_STARTER_USE_LOGIN_SHELL

# qrsh CMD and qrsh -inherit have no shell of the queue: the account's own is taken (SHELL holds the queue's, /bin/sh).
if [ -z "$shell_path" ]; then
	account=$(getent passwd "$LOGNAME")
	shell=${account##*:}
	exec "${shell:-/bin/sh}" -c "$*"
fi

handle_as_binary=0
no_shell=0
while IFS='=' read -r name value; do
	case $name in
	handle_as_binary) handle_as_binary=$value ;;
	no_shell) no_shell=$value ;;
	esac
done <"$SGE_JOB_SPOOL_DIR/config"

# A login shell is told by a leading "-" of its argv[0], which sh cannot set for another program: -l where the shell knows it.
login=
if [ "$login_shell" = true ]; then
	case ${shell_path##*/} in
	sh | dash | bash | ksh | zsh) login=-l ;;
	esac
fi

if [ "$handle_as_binary" = 1 ]; then
	[ "$no_shell" = 1 ] && exec "$@"
	exec "$shell_path" $login -c "$*"
fi
case $mode in
unix_behavior) exec "$@" ;;
*) exec "$shell_path" $login "$@" ;;
esac
