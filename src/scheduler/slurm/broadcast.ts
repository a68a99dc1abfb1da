import { join } from 'node:path';

import { firstOperand, hasLongOption, type OptionTable, optionValues, type RelayRule } from '../relay.ts';

/** Options of sbcast(1), Slurm 22.05. */
const OPTIONS: OptionTable = {
  shortWithValue: 'FjstZ',
  longFlags: new Set(['force', 'preserve', 'verbose', 'version', 'help', 'usage', 'send-libs', 'compress']),
};

/** In each machine: $1 = replace what is there, $2 = with its times, $3 = source, $4 = target. sbcast gives the target the source's mode either way, and ends with EEXIST. */
const COPY = `if [ "$1" = no ] && [ -e "$4" ]; then echo "sbcast: error: REQUEST_FILE_BCAST($(hostname)): File exists" >&2; exit 17; fi
cp -f $2 -- "$3" "$4" && chmod --reference="$3" -- "$4"`;

/**
 * sbcast copies to the disks of the nodes, where the machines of its job see nothing of it: inside a job the same is done by a step with one task in each of them. Sources that
 * only the caller's machine has reach that one alone; the others say so.
 */
export function broadcastRule(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  binDir: string,
): RelayRule {
  const at = firstOperand(argv, OPTIONS);
  const [source, target, ...more] = at === undefined ? [] : argv.slice(at);
  if (source === undefined || target === undefined || more.length > 0)
    return { allow: false, message: 'sbcast: expected SOURCE and TARGET' };
  const nodes = env.SLURM_JOB_NUM_NODES ?? '1';
  const [job] = optionValues(argv, OPTIONS, ['jobid', 'j']);
  const force = isGiven(argv, at, 'force', 'f') ? 'yes' : 'no';
  const times = isGiven(argv, at, 'preserve', 'p') ? '-p' : '';
  return {
    allow: true,
    program: join(binDir, 'srun'),
    argv: [
      ...['srun', '--quiet', '--overlap', '--mpi=none', '--input=none'],
      ...['--nodes', nodes, '--ntasks', nodes, '--ntasks-per-node', '1'],
      ...(job === undefined ? [] : ['--jobid', job]),
      ...['sh', '-c', COPY, 'sbcast', force, times, source, target],
    ],
    script: undefined,
    startsStep: true,
    mayRepeat: force === 'yes',
  };
}

function isGiven(argv: readonly string[], end: number | undefined, long: string, short: string): boolean {
  const bundled = new RegExp(`^-[fpvC]*${short}`);
  return hasLongOption(argv, OPTIONS, [long]) || argv.slice(1, end).some((word) => bundled.test(word));
}
