import { rm } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';

import type { Lab } from '../../lab/host.ts';
import { asUser, jobDirectory } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { PRELUDE, SIGNAL_CASES, SLURM_CASES, type SlurmCase } from './slurm-cases.ts';

/** Machines of several cases boot at once on two emulated cores. */
const CASE_TIMEOUT_MS = 240_000;
/** Each case has up to two jobs at a time, natively and in a machine: more only wait for each other. */
const CASES_AT_ONCE = 3;

/** Slurm users notice nothing: each case runs natively and in machines, at the same time, and must print the same. */
describe.each([
  ['what Slurm users do', SLURM_CASES],
  ['what signals do', SIGNAL_CASES],
])('%s, in a machine as natively', (_, cases) => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
  });

  it.concurrent.each(cases)('$name', { timeout: 2 * CASE_TIMEOUT_MS }, async (one) => {
    const [native, vm] = await inTurn(() => Promise.all([run(lab, one, 'native'), run(lab, one, 'main')]));
    expect(vm).toEqual(native);
    expect(native).toMatch(one.shows);
  });
});

const turns: Promise<unknown>[] = Array.from({ length: CASES_AT_ONCE }, () => Promise.resolve());
let nextTurn = 0;

/** At most CASES_AT_ONCE at a time. */
function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const lane = nextTurn++ % CASES_AT_ONCE;
  const done = (turns[lane] ?? Promise.resolve()).then(work);
  turns[lane] = done.catch(() => undefined);
  return done;
}

/** What the case prints on the head, without what differs between any two jobs: ids, its directory, the node it got. */
async function run(lab: Lab, { script, anyOrder = false }: SlurmCase, partition: string): Promise<string> {
  const directory = await jobDirectory(lab);
  const result = await asUser(lab, ['bash', '-c', `${PRELUDE}\n${script}`], {
    cwd: directory,
    environment: { P: partition },
    timeoutMs: CASE_TIMEOUT_MS,
  });
  const text = `${result.stdout}${result.stderr}`
    .replaceAll(directory, '<dir>')
    .replace(/slurmstepd-n\d:/g, 'slurmstepd:')
    .replace(/job\d{5,}/g, 'job<id>')
    .replace(/(CANCELLED AT |StepId=|JOB )[-\dT:.]+/g, '$1<...>')
    .replace(/ ON n\d/g, ' ON <node>')
    .replace(/error: n\d:/g, 'error: <node>:');
  await rm(directory, { recursive: true, force: true });
  return anyOrder ? text.split('\n').sort().join('\n') : text;
}
