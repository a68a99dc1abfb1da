#!/bin/sh
# Grid Engine starter_method: runs each step of a job that has a machine inside it, any other job as Grid Engine would itself.
# Runs as the job's user, under the job's limits, so: no programs but the shell's own, until the last exec.

CADDIS_HOOK=/usr/sbin/caddis-hook
CADDIS_RUN=/run/caddis
[ ! -r /etc/caddis/hooks.env ] || . /etc/caddis/hooks.env

task=$SGE_TASK_ID
[ "$task" = undefined ] && task=1
if [ -e "$CADDIS_RUN/jobs/gridengine-$JOB_ID.$task" ]; then
	exec "$CADDIS_HOOK" exec --scheduler gridengine -- "$@"
fi

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
