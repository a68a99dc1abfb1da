import { join } from 'node:path';

import { firstOperand, hasLongOption, type OptionTable, type RelayRule } from '../relay.ts';

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
  'sbcast',
  'sattach',
  'sacctmgr',
] as const;
const LAUNCH = ['srun', 'sbatch', 'salloc'] as const;

export const SLURM_COMMANDS: readonly string[] = [...LAUNCH, ...CONTROL];

/** Options of sbatch(1) and srun(1), Slurm 22.05, that take no value as a next word. */
const LAUNCH_OPTIONS: OptionTable = {
  shortWithValue: 'AabBcCdDeEFGiJKLmMnNopPqrStTwWx',
  longFlags: new Set(
    (
      'contiguous disable-status exclusive get-user-env help hold ignore-pbs immediate interactive kill-on-invalid-dep label ' +
      'multi-prog nice no-allocate no-kill no-requeue overcommit overlap oversubscribe parsable preserve-env pty quiet quit-on-interrupt ' +
      'reboot requeue send-libs spread-job test-only unbuffered usage use-min-nodes verbose version wait-all-nodes whole X11 no-shell no-bell ' +
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
export function slurmRelayRule(argv: readonly string[], binDir: string): RelayRule {
  const command = argv[0] ?? '';
  if (!SLURM_COMMANDS.includes(command)) return refuse(`${command} cannot be used inside a job`);
  const program = join(binDir, command);
  switch (command) {
    case 'srun':
      // srun runs these beside itself: that would be outside the job's machine.
      if (hasLongOption(argv, LAUNCH_OPTIONS, ['prolog', 'epilog']))
        return refuse(
          'srun: --prolog and --epilog would run outside the job’s machine: put the commands into the script',
        );
      return { allow: true, program, script: undefined, usesWorkDir: true };
    case 'sbatch': {
      const wrapped = hasLongOption(argv, SBATCH_OPTIONS, ['wrap']);
      return {
        allow: true,
        program,
        script: wrapped ? undefined : firstOperand(argv, SBATCH_OPTIONS),
        usesWorkDir: true,
      };
    }
    case 'salloc':
      if (!hasLongOption(argv, LAUNCH_OPTIONS, ['no-shell']))
        return refuse(
          'salloc: its shell would run outside the job’s machine: use "salloc --no-shell" and srun --jobid, or sbatch',
        );
      return { allow: true, program, script: undefined, usesWorkDir: true };
    default:
      return { allow: true, program, script: undefined, usesWorkDir: false };
  }
}

function refuse(message: string): RelayRule {
  return { allow: false, message };
}
