import type { StartDocument } from '../../guest/protocol/start-document.ts';
import { startOfStep } from '../../guest/protocol/start-document.ts';
import { stepSessionId } from '../../guest/sessions/session-id.ts';
import type { StepOrigin } from '../../guest/sessions/step.ts';
import { standsStill } from '../../jobs/transitions.ts';
import { CaddisError, messageOf } from '../../model/errors.ts';
import type { Identity } from '../../model/identity.ts';
import { formatKey, type HookCall, type StepPlan } from '../../model/job.ts';
import { readCarried } from '../carry-in.ts';
import type { Guest } from '../guest.ts';
import type { HookClient } from '../hook-server.ts';
import type { Job } from '../job.ts';
import { keptOutputs, type SavedSession, type SavedStream } from '../moving/moved-sessions.ts';
import { type OutputFile, outputsOf } from '../moving/step-outputs.ts';
import { schedulerVariables } from '../relay.ts';
import { vcpusOf } from '../step-cpus.ts';

/** What adapters call the step that is the job itself. */
const MAIN_STEP = 'batch';

/** A step: started in the job's machine, or attached to again by a shim that lost its connection. */
export async function exec(job: Job, call: HookCall, client: HookClient): Promise<void> {
  const guest = job.resources.guest;
  if (!guest) throw new CaddisError('the job has no machine any more');
  if (call.session !== undefined) {
    const { session } = call;
    const { name } = job.scheduler.readStep(call);
    noteClient(job, session, name, call);
    job.cameWith = job.cameWith.filter((saved) => saved.session !== `${session}`);
    guest.attachStep(session, name, client.peer);
    askAgain(job);
    return;
  }
  const said = job.scheduler.readStep(call);
  const origin = originOf(said);
  const plan = withoutOurs(said);
  const came = takeSaved(job, plan, origin);
  if (came && came.phase !== 'opening') return goOn(job, guest, plan, came, call, client);
  const files = await readCarried(plan, job.scheduler.spoolDirs, job.identity);
  // One that the guest may or may not have started is opened again by the same id: it never starts twice.
  const id = came ? BigInt(came.session) : stepSessionId(job.machine, call.pid);
  if (plan.name === MAIN_STEP && call.cpus.length > 0) job.hostCpus ??= call.cpus;
  const outputs = plan.name === MAIN_STEP ? await outputsOf(call.pid) : undefined;
  // What it refuses leaves nothing here.
  guest.openStep(id, plan.name, stepStart(job, plan, call, job.identity, files), client.peer, origin);
  noteClient(job, id, plan.name, call);
  if (outputs) job.outputs.set(id, outputs);
  job.given.set(id, schedulerVariables(plan.env));
  job.log.debug(`step ${plan.name} is session ${id}`, { pid: call.pid });
}

function noteClient(job: Job, session: bigint, name: string, call: HookCall): void {
  job.shims.set(session, call);
  if (name === MAIN_STEP) job.mainSteps.add(session);
}

/** A signal that reached a client of a job that stands still while its connection was broken is told to nobody: it may have been the word to go on. */
function askAgain(job: Job): void {
  if (!standsStill(job.state) || job.scheduler.ambiguousSignals.size === 0) return;
  job.dispatch({ type: 'halted', signal: 0 }).catch((error: unknown) => job.log.error(messageOf(error)));
}

/** A shell for the admin or the job's owner, beside whatever runs. */
export function shell(job: Job, call: HookCall, client: HookClient, identity: Identity): void {
  const guest = job.resources.guest;
  if (!guest) throw new CaddisError('the job has no machine any more');
  if (call.session !== undefined) {
    guest.attachStep(call.session, 'shell', client.peer);
    return;
  }
  const { phase } = job.state;
  // A guest that is not set up yet has no program to start, and one that stands still would let a person wait without a word.
  if (phase !== 'ready' && phase !== 'running')
    throw new CaddisError(
      `the machine of ${formatKey(job.key)} is ${phase}: ${phase === 'starting' ? 'try again when it is ready' : 'there is a shell only while it runs'} ("caddis status")`,
    );
  const [, ...command] = call.args;
  const terminal = call.env.TERM === undefined ? {} : { TERM: call.env.TERM };
  const home = identity.passwd.split(':')[5] ?? '/';
  const plan: StepPlan = {
    name: 'shell',
    argv: command.length > 0 ? command : ['-bash'],
    program: command.length > 0 ? undefined : '/bin/bash',
    pathSearch: true,
    env: {
      ...terminal,
      HOME: identity.uid === 0 ? '/root' : home,
      USER: identity.name,
      LOGNAME: identity.name,
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    },
    cwd: identity.uid === 0 ? '/root' : home,
    carry: [],
  };
  guest.openStep(
    stepSessionId(job.machine, call.pid, identity.uid === 0 ? 'root' : 'job'),
    plan.name,
    stepStart(job, plan, call, identity, []),
    client.peer,
    {},
  );
}

/** The step that came with the machine from another host, if this is it; once: a second step of that name is a new one. */
function takeSaved(job: Job, plan: StepPlan, { relay, task }: StepOrigin): SavedSession | undefined {
  const found = job.cameWith.find((saved) =>
    relay === undefined
      ? saved.relay === undefined && saved.name === plan.name
      : saved.relay === `${relay}` && saved.task === task,
  );
  job.cameWith = job.cameWith.filter((saved) => saved !== found);
  return found;
}

/** Its new client goes on where the last one stood. */
async function goOn(
  job: Job,
  guest: Guest,
  plan: StepPlan,
  saved: SavedSession,
  call: HookCall,
  client: HookClient,
): Promise<void> {
  const id = BigInt(saved.session);
  noteClient(job, id, plan.name, call);
  if (plan.name === MAIN_STEP) {
    const [stdout, stderr] = await outputsOf(call.pid);
    job.outputs.set(id, [goesOnAt(stdout, saved.streams.stdout), goesOnAt(stderr, saved.streams.stderr)]);
  }
  if (saved.given) job.given.set(id, saved.given);
  guest.resumeStep(id, plan.name, client.peer, keptOutputs(saved, job.kept));
  job.log.info(`step ${plan.name} goes on`, { session: saved.session });
}

/** What stood in the file is put back into it by its client. */
function goesOnAt(now: OutputFile | undefined, before: SavedStream | undefined): OutputFile | undefined {
  if (!now || !before?.file) return now;
  return { ...now, base: BigInt(before.file.length) - BigInt(before.delivered) };
}

/** Which relayed command started a step, and which of its tasks it is: the command's environment comes back in its steps. */
function originOf({ env }: StepPlan): StepOrigin {
  const relay = /^\d{1,20}$/.test(env.CADDIS_RELAY ?? '') ? BigInt(env.CADDIS_RELAY as string) : undefined;
  if (relay === undefined) return {};
  const task = /^\d{1,9}$/.test(env.SLURM_PROCID ?? '') ? Number(env.SLURM_PROCID) : undefined;
  return { relay, ...(task === undefined ? {} : { task }) };
}

/** What relay.ts leaves in the environment of a command is for us, not for the steps that it starts: a directory that only the guest has, and the command's own number. */
function withoutOurs(plan: StepPlan): StepPlan {
  const { CADDIS_CWD, CADDIS_RELAY: _, ...env } = plan.env;
  return { ...plan, env, cwd: CADDIS_CWD ?? plan.cwd };
}

function stepStart(
  job: Job,
  plan: StepPlan,
  call: HookCall,
  identity: Identity,
  files: StartDocument['files'],
): StartDocument {
  const { cpus = 1 } = job.sizes;
  const { memoryBytes = job.sizes.memoryBytes, memorySource: source = 'the memory request' } =
    job.facts.request;
  return startOfStep(plan, call, identity, {
    cpus: vcpusOf(call, { hostCpus: job.hostCpus, vcpus: cpus }),
    files,
    memoryLimit: memoryBytes === undefined ? undefined : { bytes: memoryBytes, source },
  });
}
