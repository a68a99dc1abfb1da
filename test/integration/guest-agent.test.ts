import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { until } from '../lab/process.ts';
import { AGENT_PROGRAM, AgentProcess } from './support/agent.ts';
import { RouterProcess } from './support/router-process.ts';
import { TestShim } from './support/test-shim.ts';

const BYTES = 200_000_000;
/** A byte stream that anyone can compute: AES-CTR of zeros would need openssl in the guest, so a counter text it is. */
const PRODUCE = `seq -w 1 99999999 | head -c ${BYTES}`;

const HOOK_PROGRAM = fileURLToPath(new URL('../../build/caddis-hook', import.meta.url));

let agent: AgentProcess;
let router: RouterProcess;
let hookPath: string;

beforeAll(async () => {
  if (!existsSync(AGENT_PROGRAM))
    throw new Error(`${AGENT_PROGRAM} is missing: run "make -C src/guest/init"`);
  agent = await AgentProcess.start();
  hookPath = `${agent.dir}/hook.sock`;
  router = await RouterProcess.start(agent.dir, hookPath);
});

afterAll(async () => {
  await router?.kill();
  await agent?.stop();
});

describe('a step in the real agent', () => {
  test('its output, errors and status arrive', async () => {
    const output = ['', '', ''];
    const shim = new TestShim({
      hookPath,
      argv: ['sh', '-c', 'echo out; echo err >&2; exit 7'],
      output: (stream, pieces) => {
        output[stream] += Buffer.concat(pieces).toString();
      },
    });
    const { status } = await shim.run(20_000);
    expect(status).toEqual({ kind: 'exited', code: 7 });
    expect(output).toEqual(['', 'out\n', 'err\n']);
  });

  test('stdin goes in and comes out', async () => {
    const stdin = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * 31) % 251));
    const hash = createHash('sha256');
    const output = (_stream: number, pieces: readonly Buffer[]) => {
      for (const piece of pieces) hash.update(piece);
    };
    const { status } = await new TestShim({ hookPath, argv: ['cat'], stdin, output }).run(30_000);
    expect(status).toEqual({ kind: 'exited', code: 0 });
    expect(hash.digest('hex')).toBe(createHash('sha256').update(stdin).digest('hex'));
  });

  test('200 MB arrive byte for byte through ten broken links and two killed daemons', async () => {
    const expected = await sha256Of(PRODUCE);
    const hash = createHash('sha256');
    const shim = new TestShim({
      hookPath,
      argv: ['sh', '-c', PRODUCE],
      output: (_stream, pieces) => {
        for (const piece of pieces) hash.update(piece);
      },
    });
    const run = shim.run(100_000);
    run.catch(() => undefined);
    await breakTwelveTimes(() => Number(shim.delivered[1]));
    const { status } = await run;
    expect(status).toEqual({ kind: 'exited', code: 0 });
    expect(shim.delivered[1]).toBe(BigInt(BYTES));
    expect(hash.digest('hex')).toBe(expected);
    expect(shim.reconnects).toBe(2);
    expect(router.count('violation')).toBe(0);
  });

  test('200 MB arrive through the real caddis-hook, ten broken links and two killed daemons', async () => {
    if (!existsSync(HOOK_PROGRAM)) throw new Error(`${HOOK_PROGRAM} is missing: run "make -C hooks/client"`);
    await mkdir(`${agent.dir}/jobs/slurm-1`, { recursive: true });
    await symlink(hookPath, `${agent.dir}/jobs/slurm-1/step.sock`);
    const expected = await sha256Of(PRODUCE);
    const hash = createHash('sha256');
    let bytes = 0;
    const shim = spawn(HOOK_PROGRAM, ['--run', agent.dir, 'exec', '--', 'sh', '-c', `${PRODUCE}; exit 5`], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin', CADDIS_KEY: 'slurm-1' },
    });
    let errors = '';
    shim.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    shim.stdout.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      bytes += chunk.length;
    });
    const ended = once(shim, 'close', { signal: AbortSignal.timeout(100_000) });
    ended.catch(() => shim.kill('SIGKILL'));
    await breakTwelveTimes(() => bytes);
    expect(await ended, errors).toEqual([5, null]);
    expect(bytes).toBe(BYTES);
    expect(hash.digest('hex')).toBe(expected);
    expect(router.count('violation')).toBe(0);
  });

  test('signals and pressure pass while a reader has stalled', async () => {
    let free = () => {};
    const stalled = new Promise<void>((resolve) => {
      free = resolve;
    });
    let calls = 0;
    const mark = `${agent.dir}/signalled`;
    const shim = new TestShim({
      hookPath,
      argv: ['sh', '-c', `trap 'echo got > ${mark}' USR1; cat /dev/zero & wait; kill $!`],
      output: () => {
        calls += 1;
        return stalled;
      },
    });
    const run = shim.run(30_000);
    run.catch(() => undefined);
    await until('output', async () => calls > 0);
    // The window is full: from here on the stream stands still.
    await router.next('pressure', 10_000);
    shim.signal(10);
    await until('the trap of the signal', async () => existsSync(mark), { timeoutMs: 5000 });
    await router.next('pressure', 10_000);
    expect(calls).toBe(1);
    free();
    expect((await run).status).toEqual({ kind: 'exited', code: 0 });
  });
});

/** Ten broken links and two killed daemons at random places within the stream; bytes flow again before the next. */
async function breakTwelveTimes(delivered: () => number): Promise<void> {
  const faults = Array.from({ length: 12 }, (_, i) => (i === 3 || i === 8 ? 'kill' : 'link'));
  for (const [i, fault] of faults.entries()) {
    const at = Math.floor(((i + Math.random()) / (faults.length + 1)) * BYTES);
    await until(`${at} bytes`, async () => delivered() >= at, { everyMs: 1 });
    if (fault === 'kill') {
      await router.kill();
      router = await RouterProcess.start(agent.dir, hookPath);
    } else router.reset();
    await wait(Math.random() * 20);
  }
}

async function sha256Of(command: string): Promise<string> {
  const { execa } = await import('execa');
  const { stdout } = await execa('sh', ['-c', `${command} | sha256sum`], { timeout: 60_000 });
  return stdout.split(' ')[0] as string;
}
