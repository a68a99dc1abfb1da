import { isRootsSession } from '../guest/sessions/session-id.ts';
import { CaddisError, messageOf } from '../model/errors.ts';
import { formatKey, type HookCall, parseKey, type SchedulerName } from '../model/job.ts';
import type { HookAnswer, Scheduler } from '../scheduler/scheduler.ts';
import type { HookClient, HookSocket } from './hook-server.ts';
import { identityOf } from './identity.ts';
import type { Job } from './job.ts';
import { whyNotSaved } from './moving/why-not-saved.ts';
import type { Node } from './node.ts';
import { rootSocket } from './places.ts';
import { advise } from './verbs/advise.ts';
import { beginMove, checkpoint, control, EXIT_UNSAVABLE, isControlVerb } from './verbs/control.ts';
import { drain, undrain } from './verbs/drain.ts';
import { epilog } from './verbs/epilog.ts';
import { exec, shell } from './verbs/exec.ts';
import { explain } from './verbs/explain.ts';
import { facts } from './verbs/facts.ts';
import { follow, migrate } from './verbs/migrate.ts';
import { prolog } from './verbs/prolog.ts';
import { status } from './verbs/status.ts';
import { top } from './verbs/top.ts';

/** Tells an epilog hook to do without us; EX_TEMPFAIL of sysexits(3). */
const EXIT_UNREADY = 75;

/** Answers one call of caddis-hook: steps on a job's own socket, everything else on the root socket. `stopping` is aborted when caddisd ends. */
export async function answer(
  node: Node,
  call: HookCall,
  client: HookClient,
  socket: HookSocket,
  stopping: AbortSignal,
): Promise<void> {
  const job = node.jobs.all().find(({ places }) => places.stepSocket === socket.path);
  if (job) return answerStep(node, job, call, client);
  if (socket.path !== rootSocket(node.config.run_dir)) {
    if (call.verb !== 'advise')
      throw new CaddisError(`"${call.verb}" is for root, or for a job's own socket`);
    client.stdout(`${JSON.stringify(await advise(node, { uid: socket.owner.uid, words: call.args }))}\n`);
    return client.exit(0);
  }
  if (call.verb === 'advise') {
    client.stdout(`${JSON.stringify(await advise(node, { uid: undefined, words: call.args }))}\n`);
    return client.exit(0);
  }
  if (call.verb === 'shell') return shell(jobNamed(node, call.args[0]), call, client, await identityOf(0));
  if (call.verb === 'status') {
    client.stdout(`${JSON.stringify(await status(node))}\n`);
    return client.exit(0);
  }
  if (call.verb === 'top') {
    if (!node.view) throw new CaddisError(node.health.reason ?? 'caddisd is still starting: ask again');
    client.stdout(`${JSON.stringify(top(node, node.view))}\n`);
    return client.exit(0);
  }
  if (call.verb === 'explain') {
    client.stdout(`${JSON.stringify(await explain(node, call.args[0]))}\n`);
    return client.exit(0);
  }
  if (isControlVerb(call.verb)) {
    const one = jobNamed(node, call.args[0]);
    if (call.verb === 'migrate') await migrateAndFollow(node, one, call, client);
    else await control(node, one, call.verb);
    return client.exit(0);
  }
  if (call.verb === 'checkpoint') {
    await checkpoint(node, jobNamed(node, call.args[0]));
    return client.exit(0);
  }
  if (call.verb === 'drain' || call.verb === 'undrain') {
    await (call.verb === 'drain' ? drain(node, call.args[0]) : undrain(node));
    return client.exit(0);
  }
  const scheduler = node.schedulers.get(call.args[0] as SchedulerName);
  if (!scheduler)
    throw new CaddisError(
      `"${call.verb} ${call.args[0] ?? ''}": expected a scheduler that is enabled in caddis.toml`,
    );
  const signal = AbortSignal.any([client.signal, stopping]);
  const said = await answerHook(node, call, scheduler, signal).catch((error: unknown) => {
    if (!stopping.aborted) throw error;
  });
  // No answer while stopping: the hook asks the next caddisd.
  if (!said) return client.peer.close('caddisd is stopping');
  if (said.stderr) client.stderr(said.stderr);
  client.exit(said.exitCode);
}

/** `migrate JOB [HOST|-] [SECONDS]`: 0 = not to wait for it. News are one JSON object a line. */
async function migrateAndFollow(node: Node, job: Job, call: HookCall, client: HookClient): Promise<void> {
  const [, to = '-', seconds = '0'] = call.args;
  const epoch = node.context.checkpoints?.custody.epochOf(job) ?? 0;
  await migrate(node, job, to === '-' ? undefined : to);
  if (Number(seconds) > 0)
    await follow(node, job, {
      epoch,
      waitMs: Number(seconds) * 1000,
      signal: client.signal,
      tell: (news) => client.stdout(`${JSON.stringify(news)}\n`),
    });
}

async function answerStep(node: Node, job: Job, call: HookCall, client: HookClient): Promise<void> {
  refuseStrangers(job, call);
  if (call.verb === 'exec') return exec(job, call, client);
  if (call.verb === 'shell') return shell(job, call, client, job.identity);
  if (isControlVerb(call.verb)) {
    if (call.verb === 'migrate') {
      const obstacle = whyNotSaved(node, job);
      if (obstacle !== undefined) {
        job.log.warn(`moved without its state: ${obstacle}`);
        return client.exit(EXIT_UNSAVABLE);
      }
      await beginMove(node, job);
      // The socket goes with the job: the answer must not wait for the end of a save.
      job.dispatch({ type: 'move' }).catch((error: unknown) => job.log.error(messageOf(error)));
    } else await control(node, job, call.verb);
    return client.exit(0);
  }
  if (call.verb === 'checkpoint') {
    await checkpoint(node, job);
    return client.exit(0);
  }
  throw new CaddisError(`"${call.verb}" is not for a job's own socket`);
}

/**
 * Root may connect to every job's socket, and runs hooks in environments that users have made: a step is its own user's to start. And the shell that an admin has in the machine is no
 * session of the job.
 */
function refuseStrangers(job: Job, call: HookCall): void {
  const { uid } = job.identity;
  if (call.verb === 'exec' && call.uid !== uid)
    throw new CaddisError(`steps of ${formatKey(job.key)} are for uid ${uid} to start, not for ${call.uid}`);
  if (uid !== 0 && call.session !== undefined && isRootsSession(call.session))
    throw new CaddisError(`session ${call.session} is none of ${formatKey(job.key)}'s own`);
}

async function answerHook(
  node: Node,
  call: HookCall,
  scheduler: Scheduler,
  signal: AbortSignal,
): Promise<HookAnswer> {
  switch (call.verb) {
    case 'prolog':
      return prolog(node, scheduler, call, signal);
    case 'epilog':
      // The hook ends the QEMU of a job that we do not know yet.
      return (await node.isReady(signal)) ? epilog(node, scheduler, call) : { exitCode: EXIT_UNREADY };
    case 'facts':
      if (await node.isReady(signal)) return facts(node, scheduler, call, signal);
      throw new CaddisError(node.health.reason ?? 'caddisd is still starting');
    default:
      throw new CaddisError(`unknown verb "${call.verb}"`);
  }
}

function jobNamed(node: Node, name: string | undefined): Job {
  const key = name === undefined ? undefined : parseKey(name);
  const job = key && node.jobs.current(key);
  if (job) return job;
  const known = node.jobs.all().map(({ key }) => formatKey(key));
  throw new CaddisError(
    `no machine for ${name ?? 'that job'} on this node; there are: ${known.join(', ') || 'none'}`,
  );
}
