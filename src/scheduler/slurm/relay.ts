import { join } from 'node:path';

import { firstOperand, hasLongOption, type OptionTable, optionValues, type RelayRule } from '../relay.ts';
import { broadcastRule } from './broadcast.ts';
import { STEP_VARIABLE_PREFIX } from './environment.ts';

/** Commands that only ask or tell the controller. */
const CONTROL = [
  'squeue',
  'scontrol',
  'scancel',
  'sacct',
  'sinfo',
  'sstat',
  'sprio',
  'sshare',
  'sattach',
  'sacctmgr',
] as const;
const LAUNCH = ['srun', 'sbatch', 'salloc'] as const;

export const SLURM_COMMANDS: readonly string[] = [...LAUNCH, ...CONTROL, 'sbcast'];

/** What srun opens itself, on the host; the words of --output and friends that mean no file; patterns are opened by the nodes' slurmstepd, on the host too. */
const SRUN_FILES = ['output', 'o', 'error', 'e', 'input', 'i', 'nodelist', 'w', 'nodefile', 'F'];
const NO_FILE = /^(all|none|\d+|\/dev\/null)$/;

/** Options of sbatch(1) and srun(1), Slurm 22.05, that take no value as a next word. */
const LAUNCH_OPTIONS: OptionTable = {
  shortWithValue: 'AabBcCdDeEFGiJKLmMnNopPqrStTwWx',
  longFlags: new Set(
    (
      'contiguous disable-status exclusive get-user-env help hold ignore-pbs immediate interactive label ' +
      'multi-prog nice no-allocate no-kill no-requeue overcommit overlap oversubscribe parsable preserve-env propagate pty quiet ' +
      'quit-on-interrupt reboot requeue resv-ports send-libs spread-job test-only unbuffered usage use-min-nodes verbose version whole x11 no-shell no-bell ' +
      'exact external-launcher bcast'
    ).split(' '),
  ),
};
/** -W and -K differ: sbatch's -W (wait) has no value, srun's has; srun's -K, -k, -E have an optional or none. */
const SBATCH_OPTIONS: OptionTable = {
  ...LAUNCH_OPTIONS,
  shortWithValue: 'AabBcCdDeFGiJLmMnNopqStwx',
  longFlags: new Set([...LAUNCH_OPTIONS.longFlags, 'wait']),
};

/** Rules for a Slurm command called inside a job. */
export function slurmRelayRule(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  binDir: string,
): RelayRule {
  const command = argv[0] ?? '';
  if (!SLURM_COMMANDS.includes(command)) return refuse(`${command} cannot be used inside a job`);
  const program = join(binDir, command);
  switch (command) {
    case 'srun':
      // srun runs these beside itself: that would be outside the job's machine.
      if (hasLongOption(argv, LAUNCH_OPTIONS, ['prolog', 'epilog']) || env.SLURM_PROLOG || env.SLURM_EPILOG)
        return refuse(
          'srun: --prolog and --epilog (SLURM_PROLOG, SLURM_EPILOG) would run outside the job’s machine: put the commands into the script',
        );
      return {
        allow: true,
        program,
        script: undefined,
        files: filesOf(argv, LAUNCH_OPTIONS, SRUN_FILES),
        // With --chdir the step's directory is named, wherever srun stands.
        startsStep: optionValues(argv, LAUNCH_OPTIONS, ['chdir', 'D']).length === 0,
        stepVariablePrefix: STEP_VARIABLE_PREFIX,
        // Its steps go on in the job's machine: they attach to the sessions that they had.
        mayRepeat: true,
      };
    case 'sbatch': {
      const wrapped = hasLongOption(argv, SBATCH_OPTIONS, ['wrap']);
      return {
        allow: true,
        program,
        script: wrapped ? undefined : firstOperand(argv, SBATCH_OPTIONS),
        scriptError: 'sbatch: error: Unable to open file PATH',
        files: filesOf(argv, SBATCH_OPTIONS, ['nodelist', 'w', 'nodefile', 'F', 'export-file', 'bbf']),
        startsStep: false,
      };
    }
    case 'salloc':
      if (!hasLongOption(argv, LAUNCH_OPTIONS, ['no-shell']))
        return refuse(
          'salloc: its shell would run outside the job’s machine: use "salloc --no-shell" and srun --jobid, or sbatch',
        );
      return { allow: true, program, script: undefined, startsStep: false };
    case 'sbcast':
      return broadcastRule(argv, env, binDir);
    default:
      return {
        ...{ allow: true, program, script: undefined, startsStep: false, mayRepeat: onlyAsks(argv) },
        putsJobBack: putsItselfBack(argv, env),
      };
  }
}

function onlyAsks([command = '', ...words]: readonly string[]): boolean {
  if (command === 'scontrol')
    return /^(show|ping|version|listpids|pidinfo)$/.test(words.find((word) => !word.startsWith('-')) ?? '');
  return ['squeue', 'sinfo', 'sacct', 'sstat', 'sprio', 'sshare'].includes(command);
}

/** `scontrol requeue $SLURM_JOB_ID`, by whichever of its names. */
function putsItselfBack(
  [command, ...words]: readonly string[],
  env: Readonly<Record<string, string>>,
): boolean {
  const [verb = '', ...ids] = words.filter((word) => !word.startsWith('-'));
  if (command !== 'scontrol' || !/^requeue(hold)?$/i.test(verb)) return false;
  const { SLURM_JOB_ID: id, SLURM_ARRAY_JOB_ID: array, SLURM_ARRAY_TASK_ID: task } = env;
  const own = [id, array, `${array}_${task}`];
  return ids
    .flatMap((word) => word.replace(/^(jobid|job)=/i, '').split(','))
    .some((word) => own.includes(word));
}

/** Of -w and -F only what holds a slash is a file. */
function filesOf(argv: readonly string[], table: OptionTable, names: readonly string[]): string[] {
  const hosts = new Set(optionValues(argv, table, ['nodelist', 'w']));
  return optionValues(argv, table, names).filter(
    (value) => !NO_FILE.test(value) && (!hosts.has(value) || value.includes('/')),
  );
}

function refuse(message: string): RelayRule {
  return { allow: false, message };
}
