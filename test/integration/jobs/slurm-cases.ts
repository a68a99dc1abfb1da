/**
 * What Slurm users do beyond a plain batch script, as bash for the head: run once with `$P` = the native partition and once with the one whose jobs run in
 * machines; what it prints must be the same. `$R` is the resources that every job asks for.
 */
export interface SlurmCase {
  readonly name: string;
  readonly script: string;
  /** A line that must be in both outputs: the case is about what it says. */
  readonly shows: RegExp;
  /** Lines come from several tasks or from srun and the task at once: compared sorted. */
  readonly anyOrder?: boolean;
}

/** `ended ID` waits for a job's end by its own books. Bounds are for a lab that is full: a job waits for its turn. */
export const PRELUDE = `
R="-p $P --mem=200M -t 5"
ended() { for i in $(seq 600); do s=$(scontrol show job -o $1 | grep -oE 'JobState=[A-Z]+' | sort -u); case "$s" in *PENDING*|*RUNNING*|*COMPLETING*|*CONFIGURING*|*SUSPENDED*|*SIGNALING*) sleep 0.3;; *) return 0;; esac; done; echo "job $1 did not end: $s"; }
appears() { for i in $(seq 800); do [ -e "$1" ] && return 0; sleep 0.2; done; echo "$1 did not appear"; }
says() { for i in $(seq 150); do grep -q "$2" "$1" && return 0; sleep 0.2; done; echo "$1 did not say $2"; }
verdict() { ended $1; scontrol show job -o $1 | grep -oE 'JobState=[A-Z]+|ExitCode=[0-9:]+' | tr '\\n' ' '; echo; }
`;

const failingStarts = `
printf '#!/bin/sh\\necho hi\\n' > no-x; chmod 644 no-x; mkdir dir; printf 'garbage\\n' > garbage; printf '#!/no/such/interpreter\\n' > bad
chmod 755 garbage bad
salloc -Q $R bash -c '
for c in no-such-program ./no-such ./no-x ./dir ./garbage ./bad /etc/passwd/x; do echo "== $c"; srun -Q $c a b 2>&1 | sort; echo "status \${PIPESTATUS[0]}"; done
echo "== no PATH"; srun -Q --export=NONE ls 2>&1 | sort
echo "== argv[0]"; srun -Q bash -c "echo \\$0"; printf "#!/bin/sh\\necho \\$0\\n" > me; chmod 755 me; srun -Q ./me
echo "== directory"; srun -Q -D /no/such/directory pwd; srun -Q -D /etc/passwd pwd; srun -Q -D /root pwd' 2>&1`;

export const SLURM_CASES: readonly SlurmCase[] = [
  {
    name: 'programs that cannot be started',
    script: failingStarts,
    shows: /bad interpreter\(\/no\/such\/interpreter\)/,
  },
  {
    name: 'the environment of a batch job and its steps',
    script: `printf '#!/bin/bash\\necho batch; env -0 | sort -z | tr "\\\\0" "\\\\n"; srun -Q bash -c "echo step; env | sort"' > job.sh
      sbatch -Q -W $R -o out --export=ALL,FOO='a b',EMPTY= job.sh
      grep -vE '^(SLURM_JOB_?ID|SLURM_JOB_PARTITION|SLURM_TASK_PID|SLURM_[A-Z]*_?(NODELIST|PORT)|SLURMD_NODENAME|SLURM_TOPOLOGY_ADDR|SLURM_(SRUN_COMM|LAUNCH_NODE|STEP_LAUNCHER)_.*|SLURM_WORKING_CLUSTER|SLURM_JOB_START_TIME|SLURM_JOB_END_TIME|P)=' out`,
    shows: /^FOO=a b$/m,
  },
  {
    name: '--export=NONE, --input and umask',
    script: `umask 027; seq 5 > input
      sbatch -Q -W $R -o out --export=NONE --input=input --wrap 'cat; env | grep -cE "^(HOME|USER|PATH)="; umask; touch made; stat -c %a made; srun -Q ls 2>&1 | sort; srun -Q /bin/ls -d /'; cat out`,
    shows: /execve\(\): ls: No such file or directory/,
  },
  {
    name: 'srun on its own: arguments, status and both outputs',
    script: `srun -Q $R bash -c 'printf "[%s]" "$@"; echo; echo err >&2; exit 7' x 'a b' '' "it's" '*'; echo status $?`,
    shows: /status 7/,
    anyOrder: true,
  },
  {
    name: 'death by signal, as srun and the accounts say it',
    script: `srun $R bash -c 'kill -SEGV $$' 2>&1 | sed -E 's/n[0-9]+|[0-9]{2,}/N/g'; echo "status \${PIPESTATUS[0]}"
      J=$(sbatch --parsable $R -o out --wrap 'kill -BUS $$'); verdict $J; sed 's#/.*/##' out`,
    shows: /status 139/,
  },
  {
    name: '20 MB of binary through pipes',
    script: `head -c 20000000 /dev/urandom > data; srun -Q $R cat < data > back; cmp data back && echo same
      cat data | srun -Q $R sh -c 'tee copy | sha256sum' | cut -d' ' -f1 > sum; [ $(cat sum) = $(sha256sum < data | cut -d' ' -f1) ] && cmp data copy && echo same again; rm -f data back copy`,
    shows: /same again/,
  },
  {
    name: 'several tasks, ranks and labels',
    script: `salloc -Q $R -n4 -c1 -N1 bash -c '
      srun -Q bash -c "echo rank \\$SLURM_PROCID of \\$SLURM_NTASKS local \\$SLURM_LOCALID" | sort
      srun -Q -l -n2 echo labelled | sort; srun -Q -n3 -i0 sed "s/^/rank \\$SLURM_PROCID: /" <<< hello
      srun -Q -n1 cat <<< stdin; for i in 1 2; do srun -Q -n1 --exclusive bash -c "echo side by side" & done; wait'`,
    shows: /rank 3 of 4/,
  },
  {
    name: 'two nodes',
    script: `sbatch -Q -W $R -N2 -n4 --ntasks-per-node=2 -o out --wrap 'srun -Q bash -c "echo task \\$SLURM_PROCID on node \\$SLURM_NODEID; hostname" | sort; srun -Q -N2 -n2 --ntasks-per-node=1 hostname | sort'; cat out`,
    shows: /task 2 on node 1[\s\S]*n1\nn2/,
  },
  {
    name: 'srun --bcast to a shared directory',
    script: `printf '#!/bin/sh\\necho broadcast $(basename $0)\\n' > prog; chmod 755 prog
      salloc -Q $R -N2 -n2 bash -c 'srun -Q --bcast='$PWD'/there ./prog; rm -f there'`,
    shows: /broadcast there/,
  },
  {
    name: 'sbcast',
    script: `printf '#!/bin/sh\necho broadcast\n' > prog; chmod 750 prog
      sbatch -Q -W $R -o out --wrap 'T=/tmp/prog-$SLURM_JOB_ID; sbcast -p prog $T; echo "status $?"; sbcast prog $T 2> said; echo "again $?"; grep -c exists said
        sbcast --force prog $T; srun -Q $T; stat -c %a $T; rm $T'; cat out`,
    shows: /again 17[\s\S]*broadcast\n750/,
  },
  {
    name: 'TMPDIR, HOME and scratch can be written by the user',
    script: `sbatch -Q -W $R -o out --wrap 'echo "[$TMPDIR]"; for d in "\${TMPDIR:-/tmp}" /tmp /var/tmp /dev/shm ~; do f=$(mktemp $d/caddis-XXXXXX) && echo x > $f && rm $f && echo $d; done'; cat out`,
    shows: /\/dev\/shm/,
  },
  {
    name: 'limits follow the user',
    script: `ulimit -S -n 777; ulimit -S -c 0; ulimit -s 4096; sbatch -Q -W $R -o out --wrap 'ulimit -a; srun -Q bash -c "ulimit -a"; ulimit -H -n'; cat out`,
    shows: /777/,
  },
  {
    name: 'an array',
    script: `sbatch -W $R --array=1-4 -o out.%a --wrap 'echo task $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_TASK_COUNT; exit $SLURM_ARRAY_TASK_ID' > /dev/null; echo status $?; cat out.1 out.2 out.3 out.4`,
    shows: /task 4 of 4/,
  },
  {
    name: 'a here-document as the script',
    script: `sbatch -Q -W $R -o out <<'E'
#!/bin/bash
#SBATCH -J from-here
echo "$SLURM_JOB_NAME: $((20 + 1)) $0" | sed 's#/.*/##'
E
      cat out`,
    shows: /from-here: 21 slurm_script/,
  },
  {
    name: 'a heterogeneous job',
    script: `sbatch -Q -W $R -n1 -o out : -p $P --mem=200M -n1 --wrap 'srun -Q --het-group=0 bash -c "echo first of $SLURM_HET_SIZE"; srun -Q --het-group=1 bash -c "echo second of $SLURM_HET_SIZE"'; cat out`,
    shows: /second of 2/,
  },
  {
    name: 'processes left behind do not hold the job',
    script: `J=$(sbatch --parsable $R -o out --wrap 'setsid sleep 1000 < /dev/null > /dev/null 2>&1 & (trap "" TERM HUP; exec sleep 1001) & echo started'); verdict $J; cat out`,
    shows: /JobState=COMPLETED/,
  },
];

const traps = `printf '%s\\n' '#!/bin/bash' 'trap "echo batch USR1" USR1; trap "echo batch TERM; sleep 1; echo cleaned; exit 3" TERM' \\
  'bash -c "trap \\"echo child USR1\\" USR1; trap \\"echo child TERM; exit\\" TERM; touch ready; while :; do sleep 0.1; done" &' 'while :; do wait; sleep 0.1; done' > job.sh`;

/** Signals, in the same form. */
export const SIGNAL_CASES: readonly SlurmCase[] = [
  {
    name: 'scancel -s USR1 --batch reaches the batch shell alone, scancel all, which have KillWait',
    script: `${traps}; J=$(sbatch --parsable $R -o out --open-mode=append job.sh); appears ready
      scancel -s USR1 --batch $J; says out 'batch USR1'; scancel $J; verdict $J; grep -E '^(batch|child|clean)' out`,
    shows: /child TERM[\s\S]*cleaned/,
    anyOrder: true,
  },
  {
    // slurmctld looks every 30 s and warns by as much too early: no sooner than 10 s after the start, so that the script's trap is set.
    name: '--signal=B:USR1 before the time limit, then TERM',
    script: `printf '%s\\n' '#!/bin/bash' 'trap "echo warned; exit 9" USR1' 'for i in $(seq 1000); do sleep 0.1; done' > job.sh
      J=$(sbatch --parsable -p $P --mem=200M -t 1 --signal=B:USR1@20 -o out job.sh); verdict $J; cat out`,
    shows: /warned/,
  },
  {
    name: 'a step that is cancelled with KILL ends in the machine too',
    script: `printf '%s\\n' '#!/bin/bash' 'srun -Q bash -c "touch step; while :; do date +%s%N > beat; sleep 0.1; done"' 'echo srun said $?' \\
      'for i in $(seq 30); do a=$(cat beat); sleep 1; [ "$a" = "$(cat beat)" ] && echo still && exit; done; echo beating' > job.sh
      J=$(sbatch --parsable $R -o out job.sh); appears step; scancel -s KILL $J.0; verdict $J; grep -E '^(srun|still|beating)' out`,
    shows: /still/,
  },
  {
    name: 'a trap of TERM ends the job with its own status',
    script: `printf '%s\\n' '#!/bin/bash' 'trap "echo bye; exit 5" TERM' 'touch up; while :; do sleep 0.1; done' > job.sh
      J=$(sbatch --parsable $R -o out job.sh); appears up; scancel -b -s TERM $J; verdict $J; grep -v ^Terminated out`,
    shows: /ExitCode=5:0/,
  },
];
