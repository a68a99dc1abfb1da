import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import * as z from 'zod';

import { CaddisError, messageOf } from '../../model/errors.ts';
import { formatKey, type JobKey, type JobRequest } from '../../model/job.ts';
import { formatBytes } from '../../model/units.ts';
import type { Scheduler } from '../../scheduler/scheduler.ts';
import { machineFacts } from '../../vm/metadata.ts';
import { writeNote } from '../durable-note.ts';
import { type Job, requestOf } from '../job.ts';
import type { Log } from '../log.ts';
import type { Node } from '../node.ts';

/** A scheduler closes its books on a run within KillWait (30 s by default) and an epilog. */
const RAISE_TIMEOUT_MS = 120_000;
const COMMAND_TIMEOUT_MS = 20_000;
/** A job that is held for our sake must not stay so because its controller was away. */
const RELEASE_EVERY_MS = 10_000;

/** What was begun for a job that may have no machine any more. */
const noteSchema = machineFacts.pick({ key: true, request: true }).extend({ bytes: z.number() });

/**
 * Sees to it that a job which is about to leave this node can be asked for more before it starts again. Written down first: a caddisd that is started again goes on with it.
 * Throws CaddisError where the scheduler takes no such word.
 */
export async function prepareRaise({ config }: Node, job: Job, bytes: number): Promise<void> {
  const { scheduler, request, facts } = job;
  await refuseObstacle(scheduler, request);
  await writeNote(pathOf(config.state_dir, job.key), { key: facts.key, request: facts.request, bytes });
  await scheduler.raise.hold(request, AbortSignal.timeout(COMMAND_TIMEOUT_MS));
}

/** The job stays. */
export async function abandonRaise(node: Node, job: Job): Promise<void> {
  await release(node, job.scheduler, job.request, job.log);
}

/**
 * Asks for the memory that a job which left this node needs, or has: what it was grown to, or what it was put back for. Where the scheduler takes no such word the job goes on
 * with what it has.
 */
export async function raiseRequest(node: Node, job: Job): Promise<void> {
  const { growth, request } = job.facts;
  const bytes = Math.max(growth?.raisedBytes ?? 0, growth?.memoryBytes ?? 0);
  if (bytes > (request.memoryBytes ?? 0)) await raise(node, job.scheduler, job.request, bytes, job.log);
}

/** What an earlier caddisd has begun. */
export async function finishRaises(node: Node): Promise<void> {
  const dir = directory(node.config.state_dir);
  for (const file of await readdir(dir).catch(() => [] as string[])) {
    const text = await readFile(join(dir, file), 'utf8').catch(() => '');
    const note = noteSchema.safeParse(parseJson(text));
    const scheduler = note.success && node.schedulers.get(note.data.key.scheduler);
    if (!note.success || !scheduler) {
      await rm(join(dir, file), { force: true });
      continue;
    }
    // One whose machine is still here has not left: its save goes on, and asks behind it.
    if (node.jobs.current(note.data.key)) continue;
    void raise(node, scheduler, requestOf(note.data), note.data.bytes, node.log).catch((error: unknown) =>
      node.log.error(messageOf(error)),
    );
  }
}

async function raise(
  node: Node,
  scheduler: Scheduler,
  request: JobRequest,
  bytes: number,
  log: Log,
): Promise<void> {
  try {
    await refuseObstacle(scheduler, request);
    await scheduler.raise.memory(request, bytes, AbortSignal.timeout(RAISE_TIMEOUT_MS));
    log.info(`${formatKey(request.key)} asks for ${formatBytes(bytes)} of memory from now on`);
  } catch (error) {
    log.warn(`${formatKey(request.key)}: its request for memory stays as it was: ${messageOf(error)}`);
  }
  await release(node, scheduler, request, log);
}

async function refuseObstacle({ raise }: Scheduler, request: JobRequest): Promise<void> {
  const obstacle = await raise.obstacle(request, AbortSignal.timeout(COMMAND_TIMEOUT_MS));
  if (obstacle !== undefined) throw new CaddisError(obstacle);
}

/** Until it is done: nobody else would. */
async function release({ config }: Node, scheduler: Scheduler, request: JobRequest, log: Log): Promise<void> {
  const note = pathOf(config.state_dir, request.key);
  if (!(await readFile(note).catch(() => undefined))) return;
  for (let attempt = 1; ; attempt++)
    try {
      await scheduler.raise.release(request, AbortSignal.timeout(COMMAND_TIMEOUT_MS));
      await rm(note, { force: true });
      return;
    } catch (error) {
      if (attempt === 1)
        log.warn(`${formatKey(request.key)} is held still, and will be released: ${messageOf(error)}`);
      await sleep(RELEASE_EVERY_MS, undefined, { ref: false });
    }
}

function directory(stateDir: string): string {
  return join(stateDir, 'raises');
}

function pathOf(stateDir: string, key: JobKey): string {
  return join(directory(stateDir), `${formatKey(key)}.json`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
