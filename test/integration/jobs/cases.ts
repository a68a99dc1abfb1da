import { expect } from 'vitest';

import type { BatchJob, BatchResult, BatchSystem } from '../support/batch.ts';

/** One thing that a user does, run natively and in a machine, and compared. */
export interface ParityCase {
  readonly name: string;
  readonly on?: readonly BatchSystem[];
  readonly job: BatchJob | ((system: BatchSystem) => BatchJob);
  /** What is taken out of both outputs before they are compared: with the reason. */
  readonly normalise?: (text: string, result: BatchResult) => string;
  /** Checked on the machine's result beside the comparison: something that proves the case is about what it says. */
  readonly expect?: (result: BatchResult) => void;
}

const plain = (body: string) => `#!/bin/bash\n${body}\n`;

/**
 * Two runs of one script differ in id, directory and the node they came to lie on, which daemons name in paths and messages. An id is looked for in these only: any number that a script
 * prints is some job's id.
 */
export function withoutIds(text: string, result: BatchResult): string {
  return text
    .replaceAll(result.directory, '<dir>')
    .replace(/slurmstepd-n\d/g, 'slurmstepd-<node>')
    .replace(/\/(execd|slurmd)\/n\d\//g, '/$1/<node>/')
    .replace(new RegExp(`(/job0*|/job_scripts/|\\bjob )${result.id}\\b`, 'gi'), '$1<id>')
    .replace(/\/job0+</g, '/job<');
}

export const CASES: readonly ParityCase[] = [
  {
    name: 'a script with arguments',
    job: {
      // Grid Engine calls a script by its job's id.
      script: plain(`printf '[%s]\\n' "$0" "$@" | sed -E 's#^.*/(slurm_script|[0-9]+)]$#[script]#'`),
      args: ['a b', '', '*', '$HOME', "it's"],
    },
  },
  { name: 'the working directory', job: { script: plain('pwd; echo x > made-here; ls') } },
  {
    name: 'the user and the groups',
    job: { script: plain('id; id -un; echo ~; groups 2>/dev/null || true') },
    // Natively Grid Engine adds a group without a name, by which it finds the job's processes (docs/differences.md).
    normalise: (text, result) => withoutIds(text.replace(/[, ]65\d{3}\b/g, ''), result),
  },
  {
    name: 'a file made in the home directory belongs to the user',
    job: { script: plain('echo hello > owned; stat -c "%U %G %a %s" owned; umask') },
  },
  { name: 'another umask', job: { script: plain('umask; touch f; stat -c %a f'), umask: 0o077 } },
  { name: 'exit status 0', job: { script: plain('exit 0') } },
  { name: 'exit status 1', job: { script: plain('exit 1') } },
  { name: 'exit status 42', job: { script: plain('echo out; echo err >&2; exit 42') } },
  { name: 'exit status 127', job: { script: plain('exit 127') } },
  { name: 'exit status 128', job: { script: plain('exit 128') } },
  { name: 'exit status 255', job: { script: plain('exit 255') } },
  { name: 'death by SEGV', job: { script: plain('kill -SEGV $$') } },
  { name: 'death by KILL', job: { script: plain('kill -KILL $$') } },
  {
    name: 'a child that dies by a signal',
    job: { script: plain('bash -c "kill -TERM \\$\\$"; echo status $?') },
  },
  {
    name: 'stdout and stderr apart',
    job: { script: plain('for i in 1 2 3; do echo out $i; echo err $i >&2; done') },
  },
  {
    name: 'stdout and stderr in one file, in order',
    job: { script: plain('for i in $(seq 200); do echo out_$i; echo err_$i >&2; done'), joined: true },
  },
  {
    name: 'every byte',
    job: {
      script: plain(
        `for i in $(seq 0 255); do printf "\\\\x$(printf %02x $i)"; done; head -c 300000 /dev/zero | tr '\\0' '\\377'`,
      ),
    },
  },
  { name: 'no output at all', job: { script: plain('true') } },
  {
    name: 'a script without #!',
    job: (system) =>
      system === 'slurm'
        ? { script: plain('echo $BASH_VERSION') }
        : { script: 'echo hello from $0 | sed -E "s#/.*/[0-9]+#script#"\n' },
  },
  {
    name: 'a python script',
    job: {
      script:
        '#!/usr/bin/python3\nimport sys,os\nprint(sys.argv[1:], os.getcwd().split("/")[-2])\nsys.exit(3)\n',
      args: ['x'],
    },
  },
  // Grid Engine puts such a job into the error state: gridengine.test.ts.
  { name: 'a missing interpreter', on: ['slurm'], job: { script: '#!/no/such/interpreter\ntrue\n' } },
  { name: 'a command that does not exist', job: { script: plain('no-such-command; echo $?') } },
  {
    name: 'stdin is empty',
    job: { script: plain('cat; readlink -f /dev/stdin | sed "s/[0-9]*//g"; echo done') },
  },
  { name: 'resource limits', job: { script: plain('ulimit -a') } },
  {
    name: '/dev/stdout can be opened again',
    job: { script: plain('echo a >> /dev/stdout; echo b >> /dev/stderr; echo c | tee -a /dev/stderr') },
  },
  { name: 'the niceness', job: { script: plain('nice') } },
  { name: 'a here-document and a pipe', job: { script: plain('cat <<E | tr a-z A-Z\nhere $((1+1))\nE') } },
  {
    name: 'TMPDIR is there and can be written',
    job: {
      script: plain(
        'd=${TMPDIR:-/tmp}; echo x > $d/caddis-test-$$ && cat $d/caddis-test-$$ && rm $d/caddis-test-$$',
      ),
    },
  },
  { name: 'a shebang with an argument', job: { script: '#!/bin/bash -e\nfalse\necho never\n' } },
  {
    name: 'a large environment',
    job: { script: plain('echo ${#BIG}'), environment: { BIG: 'x'.repeat(100_000) } },
    on: ['slurm'],
  },
  {
    name: 'signals that the script traps',
    job: { script: plain('trap "echo got usr1; exit 7" USR1; kill -USR1 $$; sleep 1') },
  },
  {
    name: 'directives in the script',
    job: (system) => ({
      script:
        system === 'slurm'
          ? '#!/bin/bash\n#SBATCH --job-name=named --comment=words\n#SBATCH -n 2\necho $SLURM_JOB_NAME $SLURM_NTASKS\n'
          : '#!/bin/bash\n#$ -N named -v FOO=bar\n#$ -pe smp 2\necho $JOB_NAME $FOO $NSLOTS\n',
    }),
    expect: ({ stdout }) => expect(stdout).toMatch(/^named .*2$/m),
  },
  { name: 'a wrapped command', job: { command: ['echo', 'hello', 'world'] } },
  {
    name: 'a background process does not hold the job',
    job: { script: plain('sleep 1000 & disown; echo started') },
  },
];
