import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { linesOf } from '../../bench/daemon-log.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, type BatchSystem, waitForEnd } from '../support/batch.ts';
import { nodeTroubles, untilNoTrouble } from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import {
  type Counting,
  leftOwn,
  MOVE_MS,
  startCounting,
  undisturbed,
  untilOn,
  untilTick,
  whereIs,
} from './support.ts';

const SECONDS = 16;
/** A job with a machine ends when the test has seen enough of it. */
const BODY =
  'until [ -e enough ] || [ "$SLURM_JOB_PARTITION$QUEUE" != main -a "$SLURM_JOB_PARTITION$QUEUE" != all.q ]; do sleep 0.5; done';
const JOB = { seconds: SECONDS, body: BODY };
const SYSTEMS: readonly BatchSystem[] = ['slurm', 'gridengine'];

interface Listed {
  readonly generation: number;
  readonly state: string;
  readonly reason: string;
  readonly directory: string;
  readonly problem: string | null;
}

describe('an admin', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
  });
  afterEach(async () => {
    for (const node of lab.nodes) await caddis(node, 'undrain');
    await untilNoTrouble(lab);
    await untilNothingLeft(lab);
  });

  it('saves jobs of both schedulers, looks after what was saved, and takes their node out of service', {
    timeout: 4 * MOVE_MS,
  }, async () => {
    const wanted = SYSTEMS.map((system) => undisturbed(lab, system, JOB));
    // Slurm chooses a node; the other job goes to the same one.
    const first = await startCounting(lab, 'slurm', lab.nodes[0] as LabHost, {
      ...JOB,
      isFree: true,
    });
    await untilTick(first, 1);
    const { here, there } = await whereIs(lab, first);
    const second = await startCounting(lab, 'gridengine', here, { ...JOB, isFree: true });
    const jobs = [first, second];
    await untilTick(second, 1);

    // A checkpoint of each, twice; the jobs run on.
    for (let i = 0; i < 2; i++) await Promise.all(jobs.map(({ key }) => caddis(here, 'checkpoint', key)));
    // On a busy machine one of them may have missed its instant three times, and stood still for all of its memory.
    const staged = await Promise.all(jobs.map(({ key }) => linesOf(lab, here, key, 0)));
    expect(staged.flat().map(({ fields }) => Object.keys(fields))).toContainEqual(
      expect.arrayContaining(['settle', 'rest_of_memory']),
    );
    await expect(caddis(here, 'drain', there.name)).rejects.toThrow(/this is .*: run "caddis drain" on/);
    const said = await caddis(here, 'drain', here.name, '--reason', 'a new disk', '--wait', '100');
    expect(said).toContain(`${here.name} is out of service and has no machine any more`);
    const troubles = (await nodeTroubles(lab)).map((line) => line.replace(/\s+/g, ' '));
    expect(troubles).toEqual([
      expect.stringContaining(`${here.name} drained caddis: a new disk`),
      // Also "a": vm_ok is 0 (hooks/gridengine/queue.conf).
      ...['all.q', 'move.q', 'native.q', 'scavenge.q'].map((queue) =>
        expect.stringMatching(new RegExp(`^${queue}@${here.name} .* a?d$`)),
      ),
    ]);
    const host = await asUser(lab, ['qconf', '-se', here.name], { user: 'root' });
    expect(host.stdout).toContain('caddis_down=caddis:_a_new_disk');
    for (const job of jobs) await untilOn(there, job, 'running');
    await Promise.all(jobs.map((job) => looksAfter(there, job)));
    await caddis(here, 'undrain');
    await untilNoTrouble(lab, MOVE_MS);

    for (const [i, job] of jobs.entries()) {
      await writeFile(join(job.directory, 'enough'), '');
      expect(await waitForEnd(lab, job.system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
      expect(await leftOwn(job)).toEqual(await wanted[i]);
    }
    await until(
      'the store to keep nothing of them',
      async () => {
        const lists = await Promise.all(jobs.map(({ key }) => checkpoints(there, 'list', key)));
        return lists.every(({ length }) => length === 0);
      },
      { timeoutMs: 30_000, everyMs: 500 },
    );
  });

  /** What is left of the job's checkpoints is the last that an admin took, and that with which it left. One that is damaged is told and removed; the other stays. */
  async function looksAfter(node: LabHost, { key }: Counting): Promise<void> {
    expect(await checkpoints(node, 'list', key)).toMatchObject(
      ['admin', /requeue|migrate/].map((reason, i) => ({
        ...{ job: key, generation: i + 2, state: 'complete' },
        reason: expect.stringMatching(reason),
      })),
    );
    const one = JSON.parse(await store(node, 'show', `${key}/2`)) as Listed;
    expect(one).toMatchObject({
      ...{ generation: 2, manifest: { settled: true } },
      claim: { holder: { host: node.name }, released: false },
    });
    await flipByte(join(one.directory, 'memory'));
    const verified: { stdout: string } = await store(node, 'verify', key).then(
      () => Promise.reject(new Error('a damaged checkpoint was found sound')),
      (error) => error,
    );
    expect(JSON.parse(verified.stdout)).toMatchObject({
      checkpoints: [{ problem: expect.stringContaining('damaged') }, { problem: null }],
    });
    await expect(store(node, 'remove', `${key}/2`)).rejects.toThrow(/--yes/);
    await store(node, 'remove', `${key}/2`, '--yes');
    expect((await checkpoints(node, 'list', key)).map(({ generation }) => generation)).toEqual([3]);
  }

  async function checkpoints(node: LabHost, what: string, key: string): Promise<Listed[]> {
    return (JSON.parse(await store(node, what, key)) as { checkpoints: Listed[] }).checkpoints;
  }

  function store(node: LabHost, ...words: string[]): Promise<string> {
    return caddis(node, 'checkpoints', ...words, '--json', '--dir', lab.paths.store);
  }
});

function caddis(node: LabHost, ...words: string[]): Promise<string> {
  return on(node, [process.execPath, 'dist/caddis.cjs', ...words], { timeoutMs: MOVE_MS });
}

async function flipByte(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, 1_000_000);
    await file.write(Buffer.from([(byte[0] as number) ^ 1]), 0, 1, 1_000_000);
  } finally {
    await file.close();
  }
}
