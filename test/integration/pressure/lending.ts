import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Explanation } from '../../../src/model/explain.ts';
import type { NodeTop } from '../../../src/model/top.ts';
import { startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { repository } from '../../lab/layout.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, type BatchSystem, submit, waitForEnd } from '../support/batch.ts';

/** Two cores, TCG, other labs beside. */
export const SLOW_MS = 180_000;
/** Of machines in all on each node that `makeSmall` is told to make small. */
export const NODE_MIB = 1664;
const STILL_BYTES = 8 << 20;
const JOBS = join(import.meta.dirname, 'jobs');
const QUEUE: Record<BatchSystem, string> = { slurm: 'scavenge', gridengine: 'scavenge.q' };

export interface LentJob {
  readonly system: BatchSystem;
  readonly id: string;
  readonly key: string;
  readonly directory: string;
  /** What is known of an earlier job with this id (of a lab that was up before) is none of it. */
  readonly submittedAtMs: number;
}

/** What an owner says of one turn of its work. */
export interface Turn {
  /** When it wants all its CPUs, by its own clock, milliseconds since the epoch. */
  readonly wokeAtMs: number;
  readonly allocatedSeconds: number;
  readonly unitsPerSecond: number;
}

/**
 * Nodes small enough that an owner fills its own within seconds. The second one lends nothing at first: where a borrower starts is so chosen without a word in its submission.
 * `extra` is more TOML for the first.
 */
export async function makeSmall(lab: Lab, megabytes: number, extra = ''): Promise<void> {
  const [one, two] = lab.nodes as [LabHost, LabHost];
  await Promise.all([
    restart(lab, one, smallNode(megabytes, extra)),
    restart(lab, two, smallNode(megabytes, '[pressure]\nlend_unreserved = false\n')),
  ]);
}

/** The second node lends from now on. */
export async function letSecondLend(lab: Lab, megabytes: number): Promise<void> {
  await restart(lab, lab.nodes[1] as LabHost, smallNode(megabytes));
}

/** A guest stops by itself without a caddisd for longer than its lease: long enough for one to be dead for a while, on a machine that is busy. */
export function smallNode(megabytes: number, extra = ''): string {
  return `[vm]\nmemory_max = "${megabytes}M"\n[checkpoint]\nlease = 60\n${extra}`;
}

export async function restart(lab: Lab, node: LabHost, extra = ''): Promise<void> {
  await stopOn(node);
  await startOn(lab, node, extra);
}

/** Reserves all CPUs of the node and that much memory, and sleeps until it is woken for one of these works. */
export async function startOwner(
  lab: Lab,
  system: BatchSystem,
  node: LabHost,
  memory: number,
  works: readonly Work[],
): Promise<LentJob> {
  const job = await start(lab, system, {
    files: ['owner.py'],
    script: `exec python3 owner.py 4 ${works.map(nameOf).join(' ')}`,
    options:
      system === 'slurm'
        ? ['-w', node.name, '-c', '4', `--mem=${memory}M`]
        : ['-l', `hostname=${node.name}`, '-pe', 'smp', '4', '-l', `h_vmem=${memory / 4}M`],
  });
  await untilSays(job, 'ready');
  return job;
}

/** Plain `sbatch -p scavenge` or `qsub -q scavenge.q`: works until it is told that it is enough. `cachedMegabytes`: of a file that it has written and does not need. */
export function startBorrower(
  lab: Lab,
  system: BatchSystem,
  { memory, megabytes, cachedMegabytes = 0 }: { memory: number; megabytes: number; cachedMegabytes?: number },
): Promise<LentJob> {
  return start(lab, system, {
    files: ['borrower.py'],
    script: `head -c ${cachedMegabytes}M /dev/zero >cached\npython3 borrower.py ${megabytes}`,
    queue: QUEUE[system],
    options: system === 'slurm' ? [`--mem=${memory}M`] : ['-l', `h_vmem=${memory}M`],
  });
}

/** Lets it work for a little longer, ends it, and throws unless it has printed what it prints when nobody disturbs it. */
export async function endBorrower(
  lab: Lab,
  job: LentJob,
  { megabytes }: { megabytes: number },
): Promise<void> {
  await untilSays(job, `tick ${ticksOf(await outputOf(job)) + 3} `);
  await writeFile(join(job.directory, 'enough'), '');
  const { exitCode } = await waitForEnd(lab, job.system, job.id, SLOW_MS);
  const text = await outputOf(job);
  if (exitCode !== 0 || text !== borrowerPrints(ticksOf(text), megabytes))
    throw new Error(`${job.key} ended with ${exitCode}, and has not printed what it must:\n${text}`);
}

async function start(
  lab: Lab,
  system: BatchSystem,
  {
    files,
    script,
    options,
    queue,
  }: { files: readonly string[]; script: string; options: readonly string[]; queue?: string },
): Promise<LentJob> {
  const texts = await Promise.all(
    files.map(async (name) => [name, await readFile(join(JOBS, name), 'utf8')] as const),
  );
  const submittedAtMs = Date.now();
  const { id, directory } = await submit(lab, system, 'vm', {
    script: `#!/bin/bash\n${script}\n`,
    files: Object.fromEntries(texts),
    options,
    ...(queue === undefined ? {} : { queue }),
  });
  const key = system === 'slurm' ? `slurm-${id}` : `gridengine-${id}.1`;
  return { system, id, directory, key, submittedAtMs };
}

/** What a borrower prints that nobody disturbs. */
function borrowerPrints(ticks: number, megabytes: number): string {
  const seed = createHash('sha256').update('seed').digest();
  const data = Buffer.alloc(megabytes * 32768 * seed.length, seed);
  let running = '';
  const lines = Array.from({ length: ticks }, (_, n) => {
    for (let at = n + 1; at < data.length; at += 1 << 20) data[at] = ((data[at] as number) + n + 1) & 255;
    running += n + 1;
    return `tick ${n + 1} ${createHash('sha256').update(running).digest('hex').slice(0, 16)}`;
  });
  lines.push(`data ${createHash('sha256').update(data).digest('hex').slice(0, 16)}`);
  return `${lines.join('\n')}\n`;
}

export function outputOf({ directory }: LentJob): Promise<string> {
  return readFile(join(directory, 'out'), 'utf8').catch(() => '');
}

export async function untilSays(job: LentJob, words: string): Promise<void> {
  await until(
    `${job.key} to say "${words}" in ${job.directory}`,
    async () => (await outputOf(job)).includes(words),
    {
      timeoutMs: SLOW_MS,
      everyMs: 100,
    },
  );
}

/** What an owner does in a turn: it takes so much memory, and spins on all its CPUs for so long. */
export interface Work {
  readonly megabytes: number;
  readonly seconds: number;
  /** All the time goes into the allocation, and it spins on none. */
  readonly slowly?: true;
}

/** Wakes the owner, and waits until it sleeps again. */
export async function wake(job: LentJob, turn: number, work: Work): Promise<Turn> {
  await beginTurn(job, turn, work);
  return endOfTurn(job, turn);
}

/** Memory of the host that a job's machine holds. */
export async function residentOf(node: LabHost, { key }: LentJob): Promise<number> {
  const { jobs } = JSON.parse(await caddis(node, 'top', '--once', '--json')) as NodeTop;
  return jobs.find(({ job }) => job === key)?.memory_resident_bytes ?? 0;
}

/** Waits until a machine gives back no more of what its job has let go of. What stays makes the next allocation faster: the first of a job is the slowest. */
export async function untilRested(node: LabHost, job: LentJob): Promise<void> {
  let before = Number.POSITIVE_INFINITY;
  await until(
    `${job.key} to hold what it keeps`,
    async () => {
      const now = await residentOf(node, job);
      const fell = before - now;
      before = now;
      return fell < STILL_BYTES;
    },
    { timeoutMs: SLOW_MS, everyMs: 4_000 },
  );
}

export async function beginTurn(job: LentJob, turn: number, work: Work): Promise<void> {
  await writeFile(join(job.directory, `wake.${turn}.${nameOf(work)}`), '');
}

export async function endOfTurn(job: LentJob, turn: number): Promise<Turn> {
  await untilSays(job, `units ${turn} `);
  const text = await outputOf(job);
  const said = (word: string) => Number(new RegExp(`^${word} ${turn} (\\S+)$`, 'm').exec(text)?.[1]);
  return {
    wokeAtMs: 1000 * said('wakes'),
    allocatedSeconds: said('allocated'),
    unitsPerSecond: said('units'),
  };
}

export async function explain(node: LabHost, { key, submittedAtMs }: LentJob): Promise<Explanation> {
  const told = JSON.parse(await caddis(node, 'explain', key, '--json')) as Explanation;
  return { ...told, history: told.history.filter(({ at }) => Date.parse(at) >= submittedAtMs) };
}

export function caddis(node: LabHost, ...words: string[]): Promise<string> {
  return on(node, [process.execPath, join(repository, 'dist/caddis.cjs'), ...words], { timeoutMs: 30_000 });
}

/** What was done to a job, as `caddis explain` knows it: waits until it is there. */
export async function untilDone(
  node: LabHost,
  job: LentJob,
  what: string,
): Promise<Explanation['history'][number]> {
  return until(
    `"${what}" to be done to ${job.key}`,
    async () => (await explain(node, job)).history.find((deed) => deed.what === what),
    { timeoutMs: SLOW_MS, everyMs: 300 },
  );
}

export async function remove(lab: Lab, { system, id }: LentJob): Promise<void> {
  await asUser(lab, [system === 'slurm' ? 'scancel' : 'qdel', id], { user: 'root' });
}

/** Number of the last tick of a borrower's output; 0 before the first. */
export function ticksOf(text: string): number {
  return Number([...text.matchAll(/^tick (\d+) /gm)].at(-1)?.[1] ?? 0);
}

function nameOf({ megabytes, seconds, slowly }: Work): string {
  return `${megabytes}.${seconds}${slowly ? '.slowly' : ''}`;
}
