import { basename } from 'node:path';

import type { HookCall, StepPlan } from '../../model/job.ts';
import { BadHookCall } from '../scheduler.ts';
import { type Environment, jobIdOf, STEP_VARIABLE_PREFIX } from './environment.ts';

/** SLURM_STEP_ID of the shell that salloc opens with LaunchParameters=use_interactive_step (SLURM_INTERACTIVE_STEP in slurm.h). */
const INTERACTIVE_STEP = '4294967290';

/**
 * How slurmstepd would start this task without us. The SPANK plugin has put the client in the place of argv[0]; the client hands on the task's own argv, and its
 * environment without our variables. With spank_prepend_task_argv (Slurm >= 23.11) the argv stands after `--scheduler slurm --`.
 * The batch script is `<spool>/jobNNNNN/slurm_script`, which only the host has, and is carried. A name that is no absolute path is looked up in the job's PATH,
 * as slurmstepd does (after task_init, so that we see the bare name), and becomes argv[0]; without PATH nothing is found and the step fails, as natively.
 */
export function readStep(call: HookCall): StepPlan {
  const env = ourNames(call.env);
  jobIdOf(env);
  const argv = taskArguments(call);
  const program = argv[0] as string;
  const name = stepName(env);
  return {
    name,
    argv,
    program: undefined,
    pathSearch: 'first',
    env,
    cwd: call.cwd,
    // 0700 and the user's own, as slurmd writes it.
    carry: name === 'batch' && isSpoolScript(program) ? [{ path: program, mode: 0o700, uid: call.uid }] : [],
  };
}

/** What decideRelay gave a step's command by a name that srun hands on. */
function ourNames(env: Environment): Environment {
  const prefixed = `${STEP_VARIABLE_PREFIX}CADDIS_`;
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [
      name.startsWith(prefixed) ? name.slice(STEP_VARIABLE_PREFIX.length) : name,
      value,
    ]),
  );
}

/** The client drops CADDIS_ARGV0 and sends the task's own argv; its explicit form is `caddis-hook exec [--scheduler slurm] -- CMD ARG...`. */
function taskArguments({ args }: HookCall): readonly string[] {
  const end = args[0] === '--' || args[0] === '--scheduler' ? args.indexOf('--') + 1 : 0;
  const words = args.slice(end);
  if (words[0] === undefined || words[0] === '')
    throw new BadHookCall(
      `expected the task's command, got "exec ${args.join(' ')}": is spank_caddis.so of the same version as caddisd?`,
    );
  return words;
}

function stepName(env: Environment): string {
  const step = env.SLURM_STEP_ID;
  if (step === undefined) return 'batch';
  return step === INTERACTIVE_STEP ? 'interactive' : step;
}

/** slurmd writes job scripts as `<SlurmdSpoolDir>/job%05u/slurm_script` (het jobs: `job%05u+%u`). */
function isSpoolScript(path: string): boolean {
  return basename(path) === 'slurm_script' && /\/job\d{5,}(\+\d+)?\/slurm_script$/.test(path);
}
