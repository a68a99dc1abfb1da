/** Prints one line for each use of a Slurm command inside a job: the same natively and in a machine. Submits to `PARTITION`. */
export const slurmScript = (partition: string) => `#!/bin/bash
#SBATCH --mem=300M -n2 -N1
exec 2>&1
cd "$SLURM_SUBMIT_DIR"
sub() { sbatch --parsable -W -p ${partition} --mem=200M "$@" </dev/null >id; echo "submit: $?"; grep -cx '[0-9]*' id; }
steps() { squeue -h -s -j "$SLURM_JOB_ID" -o '%i %j'; }
step_of() { for i in $(seq 300); do id=$(steps | awk -v n="$1" '$2 == n { print $1 }'); [ -n "$id" ] && break; sleep .1; done; echo "$id"; }
# A step whose task is up: it has said so through the shared home.
up() { for i in $(seq 300); do [ -e "$1" ] && return; sleep .1; done; echo "$1 did not come"; }

echo "- where"; command -v srun sbatch squeue | sed 's|.*/||'
echo "- step"; srun -n1 sh -c 'echo $SLURM_STEP_ID $SLURM_PROCID $SLURM_JOB_ID' | sed "s/$SLURM_JOB_ID/ID/"
echo "- absolute"; /usr/bin/srun -n1 echo yes
echo "- two tasks"; srun -n2 sh -c 'echo $SLURM_PROCID/$SLURM_NTASKS' | sort
echo "- same place"; uname -r >here; srun -n1 uname -r | cmp - here && echo same
echo "- status"; srun -n1 sh -c 'exit 7' >/dev/null 2>&1; echo $?
echo "- apart"; srun -n1 sh -c 'echo out; echo err >&2' 2>err; cat err
echo "- stdin"; head -c 3000000 /dev/urandom >/tmp/bytes-$SLURM_JOB_ID; srun -n1 cat </tmp/bytes-$SLURM_JOB_ID | cmp - /tmp/bytes-$SLURM_JOB_ID && echo same
rm /tmp/bytes-$SLURM_JOB_ID
echo "- reader gone"; timeout 60 srun -n1 yes 2>/dev/null | head -n2
echo "- signal"; srun -n1 -J trap sh -c 'trap "echo got TERM; exit 3" TERM; : >trap.up; while :; do sleep .1; done' 2>/dev/null & p=$!
up trap.up; kill -TERM $p; wait $p; echo $?
echo "- scancel a step"; srun -n1 -J cancelled sh -c ': >cancelled.up; exec sleep 300' >/dev/null 2>&1 & p=$!
up cancelled.up; scancel "$(step_of cancelled)"; wait $p; echo $?
echo "- terminal"; mkfifo /tmp/f-$SLURM_JOB_ID; script -qec 'srun --pty -n1 sh -c "test -t 0 && test -t 1 && test -t 2 && echo tty; exit 5"' /dev/null <>/tmp/f-$SLURM_JOB_ID | tr -d '\\r' | grep -x tty; echo \${PIPESTATUS[0]}; rm /tmp/f-$SLURM_JOB_ID
echo "- ask"; squeue -h -j $SLURM_JOB_ID -o %T; scontrol show job $SLURM_JOB_ID | grep -o 'JobState=[A-Z]*'; sacct -n -X -j $SLURM_JOB_ID -o state%20 | tr -d ' '; sinfo -h -o %P | sort
scontrol update job=$SLURM_JOB_ID comment=told; scontrol show job $SLURM_JOB_ID | grep -o 'Comment=.*'
squeue --no-such-option >/dev/null 2>&1; echo $?
echo "- script in the home"; sub -o in.home inner.sh one "two words"; cat in.home
echo "- script in /tmp"; mkdir /tmp/d-$SLURM_JOB_ID; cp inner.sh /tmp/d-$SLURM_JOB_ID/only-here.sh
MARK=set sub -o in.tmp /tmp/d-$SLURM_JOB_ID/only-here.sh three; cat in.tmp
echo "- from /tmp"; (cd /tmp/d-$SLURM_JOB_ID && sbatch --parsable -W -p ${partition} --mem=200M -o "$SLURM_SUBMIT_DIR/in.rel" only-here.sh four </dev/null >/dev/null; echo $?; srun -n1 sh -c 'basename $PWD' | sed "s/$SLURM_JOB_ID/ID/"); cat in.rel
rm -r /tmp/d-$SLURM_JOB_ID
echo "- here-document"; sbatch -W -p ${partition} --mem=200M -o in.here <<'X' >/dev/null
#!/bin/bash
echo in "$SLURM_JOB_NAME"
X
cat in.here
echo "- wrap"; sub -o in.wrap --wrap 'echo $0 | grep -c slurm_script'; cat in.wrap
echo "- no script"; sbatch /tmp/no-such-file.sh; echo $?
echo "- allocation"; salloc --no-shell -J held -p ${partition} -n1 --mem=200M 2>&1 | grep -c Granted; scancel -u "$USER" -n held; echo $?
echo "- unset"; env -u SLURM_JOB_ID -u SLURM_JOBID -u SLURM_NODELIST -u SLURM_JOB_NODELIST scontrol show hostnames >/dev/null 2>&1; echo $?
echo "- itself"; scancel $SLURM_JOB_ID; sleep 300; echo not reached
`;

export const INNER = `#!/bin/bash
echo "inner $SLURM_JOB_NAME$JOB_NAME ($#): $* $MARK"
env | grep -E '^CADDIS_(KEY|ARGV0|CWD|RUN)'
exit 0
`;

/** The same for Grid Engine. */
export const gridEngineScript = (queue: string) => `#!/bin/bash
exec 2>&1
sub() { qsub -terse -sync y -q ${queue} -cwd -j y "$@" >id; echo "submit: $?"; grep -cx '[0-9]*' id; }

echo "- where"; command -v qsub qstat qdel | sed 's|.*/||'
echo "- ask"; qstat -j $JOB_ID | grep -c "^job_number: *$JOB_ID"; qstat -j 999999 >/dev/null 2>&1; echo $?; qhost -h $(hostname) | tail -1 | awk '{ print $1 }' | grep -c "^$(hostname)"
qconf -sql | sort; qacct -j 999999 >/dev/null 2>&1; echo $?
echo "- script in the home"; sub -o in.home inner.sh one "two words"; cat in.home
echo "- script in /tmp"; mkdir /tmp/d-$JOB_ID; cp inner.sh /tmp/d-$JOB_ID/only-here.sh
MARK=set sub -v MARK -o in.tmp /tmp/d-$JOB_ID/only-here.sh three; cat in.tmp; rm -r /tmp/d-$JOB_ID
echo "- binary"; sub -o in.bin -b y echo in binary; cat in.bin
echo "- here-document"; qsub -terse -sync y -q ${queue} -cwd -j y -o in.here <<'X' >/dev/null
echo in "$JOB_NAME"
X
cat in.here
echo "- no script"; qsub /tmp/no-such-file.sh; echo $?
echo "- delete"; id=$(qsub -terse -h -q ${queue} -cwd -o /dev/null -j y -b y sleep 300); qalter -N renamed $id >/dev/null; echo $?; qdel $id | sed "s/$id/ID/"
echo "- itself"; qdel $JOB_ID >/dev/null; sleep 300; echo not reached
`;
