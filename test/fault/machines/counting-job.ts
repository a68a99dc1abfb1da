import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type BatchSystem, submit, waitForEnd } from '../../integration/support/batch.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { outputTrouble, readRuns } from './judge.ts';

/** Live data of each counter, in MiB: it must come along bit for bit. */
const BALLAST_MB = 8;
const END_MS = 120_000;
const EXIT_STATUS = 3;

/** A job that counts in its machine until it is told to stop, and is moved and disturbed meanwhile. */
export interface CountingJob {
  readonly system: BatchSystem;
  readonly id: string;
  /** As caddisd calls it. */
  readonly key: string;
  readonly directory: string;
}

/** Submits one; of Slurm it starts on `node`, of Grid Engine where there is room. */
export async function submitCounter(lab: Lab, system: BatchSystem, node: LabHost): Promise<CountingJob> {
  const counter = await readFile(join(import.meta.dirname, 'counter.py'), 'utf8');
  const script = `#!/bin/bash\npython3 counter.py ${BALLAST_MB}\nstatus=$?\necho "status $status"\nexit $status\n`;
  const { id, directory } = await submit(lab, system, 'vm', {
    script,
    files: { 'counter.py': counter },
    queue: system === 'slurm' ? 'main' : 'move.q',
    options: system === 'slurm' ? ['-w', node.name, '--mem=120M'] : ['-l', 'h_vmem=120M'],
  });
  return { system, id, directory, key: system === 'slurm' ? `slurm-${id}` : `gridengine-${id}.1` };
}

/** What the job has written on the shared file system so far. */
export async function progressOf({ directory }: CountingJob): Promise<ReturnType<typeof readRuns>> {
  return readRuns(await readFile(join(directory, 'beats'), 'utf8').catch(() => ''));
}

/** Lets the job end, and says what is wrong with what it leaves; undefined when all is as it should be. */
export async function finish(lab: Lab, job: CountingJob): Promise<string | undefined> {
  const { system, id, directory } = job;
  await writeFile(join(directory, 'stop'), '');
  const end = await waitForEnd(lab, system, id, END_MS);
  if (end.exitCode !== EXIT_STATUS)
    return `it ended with status ${end.exitCode}, signal ${end.signal}, state ${end.state}; expected ${EXIT_STATUS}`;
  const { runs, wrong } = await progressOf(job);
  if (wrong !== undefined) return `beats: ${wrong}`;
  const stdout = await readFile(join(directory, 'out'), 'utf8').catch(() => '');
  const trouble = outputTrouble(stdout, { runs, appended: system === 'gridengine' });
  if (trouble !== undefined) return `stdout: ${trouble}`;
  const left = (await readdir(directory)).filter((name) => !EXPECTED_FILES.has(name));
  return left.length > 0 ? `left in its directory: ${left.join(', ')}` : undefined;
}

const EXPECTED_FILES = new Set(['beats', 'counter.py', 'err', 'job.sh', 'out', 'stop']);
