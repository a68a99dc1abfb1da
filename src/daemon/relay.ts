import { stat } from 'node:fs/promises';

import type { RelayDecision, RelayRequest } from '../guest/sessions/relays.ts';
import type { HookCall } from '../model/job.ts';
import type { Job } from './job.ts';

/** Variables of the schedulers: where a job runs, and how to reach the controller. */
const SCHEDULER_VARIABLE =
  /^(SLURM|SLURMD|SGE|PE|QUEUE|JOB|ARC|NSLOTS|NHOSTS|NQUEUES|TMPDIR|TMP$|RESTARTED|REQUEST|HOSTNAME)/;

/**
 * Rules a command that was called inside the job and would run beside the step's shim. The scheduler's variables come from the shim that is there now, unless the job changed
 * them itself; LD_* is dropped, since it names files of the guest.
 */
export async function decideRelay(
  job: Job,
  request: RelayRequest,
  shim: HookCall | undefined,
): Promise<RelayDecision> {
  const { call } = request;
  const [path = '', ...args] = call.args;
  const argv = [path.split('/').pop() ?? '', ...args];
  const rule = job.scheduler.relayRule(argv);
  if (!rule.allow) {
    job.log.info(`refused inside the job: ${argv[0]}: ${rule.message}`);
    return { refuse: `${argv[0]}: ${rule.message}`, exitCode: 1 };
  }
  const cwd = (await isDirectory(call.cwd)) ? call.cwd : '/';
  const env = relayEnvironment(call.env, shim?.env ?? {});
  // The command itself cannot stand there; the step or job that it starts can, in its own machine.
  if (cwd !== call.cwd && rule.usesWorkDir) env.CADDIS_CWD = call.cwd;
  job.log.debug(`relayed: ${argv.join(' ')}`);
  const { uid, gid, groups } = job.identity;
  return {
    allow: {
      ...{ argv, program: rule.program, pathSearch: false, env, cwd, uid, gid, groups },
      ...{
        umask: call.umask,
        rlimits: [],
        cpus: [],
        nice: call.nice,
        terminal: call.terminal,
        termios: call.termios,
      },
      ...{ mergeStderr: false, stdinNull: false, files: [], memoryLimit: undefined },
    },
  };
}

/** The environment of a relayed command. */
export function relayEnvironment(
  guest: Readonly<Record<string, string>>,
  shim: Readonly<Record<string, string>>,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(guest)) if (!name.startsWith('LD_')) env[name] = value;
  for (const [name, value] of Object.entries(shim))
    if (SCHEDULER_VARIABLE.test(name) && !(name in env)) env[name] = value;
  return env;
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
