import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';
import { z } from 'zod';

import { down, up } from './lab/lab.ts';
import { pinRunner } from './lab/pinning.ts';

interface Outcome {
  readonly passed: number;
  readonly failed: number;
}

const root = join(import.meta.dirname, '..');
/** Directories whose makefile may have a target `test`: C tests with sanitizers. Each counts as one test. */
const cPrograms = ['src/guest/wire', 'src/guest/init', 'hooks/client', 'hooks/slurm/spank'];
/** A part that takes longer hangs. */
const unitTimeoutMs = 5 * 60_000;
const cTimeoutMs = 5 * 60_000;
const integrationTimeoutMs = 55 * 60_000;

/** `npm test`: unit tests, C tests, then the lab and what runs on it. Its last line is `N passed, N failed`. */
async function main(): Promise<void> {
  const outcomes = [await vitest('unit', unitTimeoutMs)];
  for (const directory of cPrograms) outcomes.push(await cTest(directory));
  outcomes.push(await integration());
  const passed = sum(outcomes.map((outcome) => outcome.passed));
  const failed = sum(outcomes.map((outcome) => outcome.failed));
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

/** The lab is taken down whatever happens; that it did not come up, or down, is a failed test. */
async function integration(): Promise<Outcome> {
  const log = (line: string) => console.log(`lab: ${line}`);
  let outcome: Outcome;
  try {
    await up({ log });
    await pinRunner();
    outcome = await vitest('integration', integrationTimeoutMs);
  } catch (error) {
    outcome = failure('the lab did not come up', error);
  }
  try {
    await down(log);
  } catch (error) {
    const second = failure('the lab did not go down', error);
    outcome = { passed: outcome.passed, failed: outcome.failed + second.failed };
  }
  return outcome;
}

const reportSchema = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  /** Files that could not be loaded have no tests in the counts above. */
  testResults: z.array(z.object({ status: z.string(), assertionResults: z.array(z.unknown()) })),
});

async function vitest(project: string, timeoutMs: number): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), 'caddis-test-'));
  try {
    const report = join(directory, 'report.json');
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const run = await execa('npx', ['vitest', 'run', '--project', project, ...reporters], {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: timeoutMs,
      reject: false,
    });
    if (run.timedOut) return failure(`${project} tests`, new Error(`not done after ${timeoutMs / 1000} s`));
    const counted = reportSchema.parse(JSON.parse(await readFile(report, 'utf8')));
    const broken = counted.testResults.filter(
      ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
    );
    const failed = counted.numFailedTests + broken.length;
    // An unhandled error outside of any test ends vitest with 1 while all tests passed.
    return { passed: counted.numPassedTests, failed: failed === 0 && run.exitCode !== 0 ? 1 : failed };
  } catch (error) {
    return failure(`${project} tests`, error);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function cTest(directory: string): Promise<Outcome> {
  const makefile = join(root, directory, 'Makefile');
  if (!existsSync(makefile) || !/^test\s*:/m.test(await readFile(makefile, 'utf8'))) return none;
  console.log(`make -C ${directory} test`);
  const run = await execa('make', ['-s', '-C', directory, 'test'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: cTimeoutMs,
    reject: false,
  });
  return run.failed
    ? failure(`make -C ${directory} test`, new Error(run.shortMessage))
    : { passed: 1, failed: 0 };
}

const none: Outcome = { passed: 0, failed: 0 };

function failure(what: string, error: unknown): Outcome {
  console.error(`FAILED ${what}: ${error instanceof Error ? error.message : String(error)}`);
  return { passed: 0, failed: 1 };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

await main();
