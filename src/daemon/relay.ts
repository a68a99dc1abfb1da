import { stat } from 'node:fs/promises';

import type { Config } from '../config/schema.ts';
import type { RelayDecision, RelayRequest } from '../guest/sessions/relays.ts';
import { CaddisError } from '../model/errors.ts';
import type { HookCall } from '../model/job.ts';
import type { RelayRule } from '../scheduler/relay.ts';
import { type CarriedOut, carryOut, isShared } from './carry-out.ts';
import type { Job } from './job.ts';

type Allowed = Extract<RelayRule, { allow: true }>;

/** Variables of the schedulers: where a job runs, and how to reach the controller. */
const SCHEDULER_VARIABLE =
  /^((SLURM|SLURMD|SBATCH|SRUN|SALLOC|SGE|SPANK|PMI|PMIX)_.*|SLURM|ARC|JOB_(ID|NAME|SCRIPT)|N(HOSTS|QUEUES|SLOTS)|PE|PE_HOSTFILE|QUEUE|REQNAME|REQUEST|RESTARTED|TMP|TMPDIR|ENVIRONMENT)$/;
/** The scheduler's variables among all. */
export function schedulerVariables(env: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => SCHEDULER_VARIABLE.test(name)));
}

/** Names files of the guest, or is ours. */
const NOT_HANDED_ON = /^(LD|CADDIS)_|^[A-Z]+_CADDIS_(RELAY|CWD)$/;

/** Where a job's own directory may be that the host does not have: what slurmstepd takes when it cannot change to a job's directory. */
const FALLBACK_DIRECTORY = '/tmp';
/** EX_TEMPFAIL of sysexits(3). */
const EXIT_CUT_OFF = 75;

/**
 * Rules a command that was called inside the job and would run beside the step's shim (docs/relay.md). What it would read and the host does not have is carried out of the
 * guest, or the call is refused.
 */
export async function decideRelay(
  job: Job,
  storage: Config['storage'],
  request: RelayRequest,
  shim: HookCall | undefined,
): Promise<RelayDecision> {
  const { call } = request;
  const [path = '', ...args] = call.args;
  const argv = [path.split('/').pop() ?? '', ...args];
  const refuse = (message: string, exitCode = 1): RelayDecision => {
    job.log.info(`refused inside the job: ${argv[0]}: ${message}`);
    return { refuse: message, exitCode };
  };
  const rule = job.scheduler.relayRule(argv, call.env);
  // A rule may name the command itself.
  if (!rule.allow)
    return refuse(rule.message.startsWith(`${argv[0]}`) ? rule.message : `${argv[0]}: ${rule.message}`);
  if (request.again && !rule.mayRepeat)
    return refuse(
      `${argv[0]}: it was under way when this job was moved to another host; whether it took effect is not known, and it is not run twice`,
      EXIT_CUT_OFF,
    );
  for (const file of rule.files ?? [])
    if (!(await isShared(storage, call.cwd, file)))
      return refuse(
        `${argv[0]}: ${file} is a file of the job's machine alone, and ${argv[0]} runs outside: use a file in a shared directory, or the shell's redirection`,
      );
  const script = await carryScript(job, storage, request, rule, argv);
  if (script === 'unreadable') {
    const name = argv[rule.script ?? 0] ?? '';
    return refuse(
      (rule.scriptError ?? 'cannot read PATH').replace('PATH', () => name),
      rule.scriptStatus,
    );
  }
  if (script && rule.script !== undefined) argv[rule.script] = script.path;

  const shared = await isDirectory(call.cwd);
  const cwd = shared ? call.cwd : FALLBACK_DIRECTORY;
  const env = relayEnvironment(call.env, shim?.env, job.given.get(request.parent) ?? shim?.env);
  // Steps that the command starts are told from others by it, also after the machine has moved.
  const prefix = rule.stepVariablePrefix ?? '';
  if (rule.startsStep) env[`${prefix}CADDIS_RELAY`] = `${request.session}`;
  // The command itself cannot stand there; the step that it starts can, in this job's machine.
  if (!shared && rule.startsStep) env[`${prefix}CADDIS_CWD`] = call.cwd;
  if (rule.putsJobBack) job.putBackByItselfMs = performance.now();
  job.log.debug(`relayed: ${argv.join(' ')}`);
  const { uid, gid, groups } = job.identity;
  return {
    allow: {
      ...{ argv: rule.argv ?? argv, program: rule.program, pathSearch: false, env, cwd, uid, gid, groups },
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
    ...(script === undefined ? {} : { ended: () => void script.remove().catch(() => undefined) }),
  };
}

/**
 * The environment of a relayed command: the caller's, without what names files of the guest (LD_*) or belongs to Caddis. A scheduler's variable that the job has left as its
 * step got it (`given`) is that of the shim that is there now: they differ after a restore. One that the job changed or unset itself stays so.
 */
export function relayEnvironment(
  caller: Readonly<Record<string, string>>,
  shim: Readonly<Record<string, string>> | undefined,
  given = shim,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(caller)) if (!NOT_HANDED_ON.test(name)) env[name] = value;
  for (const name of new Set([...Object.keys(shim ?? {}), ...Object.keys(given ?? {})])) {
    if (!SCHEDULER_VARIABLE.test(name) || NOT_HANDED_ON.test(name) || caller[name] !== given?.[name])
      continue;
    const value = shim?.[name];
    if (value === undefined) delete env[name];
    else env[name] = value;
  }
  return env;
}

/** The script of a submission, if it must be carried. */
async function carryScript(
  job: Job,
  storage: Config['storage'],
  { call }: RelayRequest,
  rule: Allowed,
  argv: readonly string[],
): Promise<CarriedOut | 'unreadable' | undefined> {
  const name = rule.script === undefined ? undefined : argv[rule.script];
  if (name === undefined || (await isShared(storage, call.cwd, name))) return undefined;
  const { guest } = job.resources;
  if (!guest) throw new CaddisError('the job has no machine any more');
  return (await carryOut(job, guest, call.cwd, name)) ?? 'unreadable';
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    // Root may not look everywhere (root_squash).
    (error: NodeJS.ErrnoException) => error.code === 'EACCES',
  );
}
