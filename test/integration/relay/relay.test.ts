import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab } from '../../lab/host.ts';
import { until } from '../../lab/process.ts';
import { asUser, runBatch, submit, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { gridEngineScript, INNER, slurmScript } from './scripts.ts';

/** A machine's start, some thirty commands and seven jobs of other machines; alone it takes a quarter of that. */
const LONG_MS = 220_000;
const SLURM_VM = ['--mem=200M', '-n1'];

/** The text between `- title` and the next such line, by title. */
function sections(stdout: string): Record<string, string> {
  const parts = stdout.split(/^- (.*)$/m).slice(1);
  return Object.fromEntries(parts.flatMap((part, i) => (i % 2 === 0 ? [[part, parts[i + 1] ?? '']] : [])));
}

/** The processes called srun, on this machine's hosts, that stand in `directory`. */
async function srunsIn(directory: string): Promise<number> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
      return name === 'srun\n' && (await readlink(`/proc/${pid}/cwd`).catch(() => '')) === directory;
    }),
  );
  return found.filter(Boolean).length;
}

const outOf = (directory: string) => readFile(join(directory, 'out'), 'utf8').catch(() => '');

describe("a scheduler's commands inside a job", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
  });

  it.concurrent(
    'Slurm: the same in a machine as natively',
    async () => {
      const job = { script: slurmScript('native'), files: { 'inner.sh': INNER }, timeoutMs: LONG_MS };
      const [native, vm] = await Promise.all([
        runBatch(lab, 'slurm', 'native', job),
        runBatch(lab, 'slurm', 'vm', job),
      ]);
      expect(sections(vm.stdout)).toEqual(sections(native.stdout));
      expect(vm.state).toBe('CANCELLED');
      expect(sections(vm.stdout)).toMatchObject({
        'two tasks': '\n0/2\n1/2\n',
        status: '\n7\n',
        stdin: '\nsame\n',
        'script in /tmp': '\nsubmit: 0\n1\ninner only-here.sh (1): three set\n',
      });
      // Scripts that were carried out are gone with their submissions.
      for (const host of lab.nodes) expect(await carriedOn(host.name)).toEqual([]);
    },
    LONG_MS,
  );

  it.concurrent(
    'Grid Engine: the same in a machine as natively',
    async () => {
      const job = {
        script: gridEngineScript('native.q'),
        files: { 'inner.sh': INNER },
        options: ['-l', 'h_vmem=300M'],
        timeoutMs: LONG_MS,
      };
      const [native, vm] = await Promise.all([
        runBatch(lab, 'gridengine', 'native', job),
        runBatch(lab, 'gridengine', 'vm', job),
      ]);
      expect(sections(vm.stdout)).toEqual(sections(native.stdout));
      expect(sections(vm.stdout)).toMatchObject({
        'script in /tmp': '\nsubmit: 0\n1\ninner only-here.sh (1): three set\n',
        'here-document': '\nin STDIN\n',
      });
    },
    LONG_MS,
  );

  async function carriedOn(node: string): Promise<string[]> {
    const { stdout } = await asUser(
      lab,
      ['sh', '-c', 'ls -d /run/caddis/machines/*/carried-*/* 2>/dev/null || true'],
      {
        user: 'root',
        host: node,
      },
    );
    return stdout.split('\n').filter((line) => line.includes('only-here'));
  }

  it.concurrent(
    'refuses what would run outside of the machine, with a reason and 1',
    async () => {
      const { stdout } = await runBatch(lab, 'slurm', 'vm', {
        options: SLURM_VM,
        joined: true,
        script: `#!/bin/bash
srun -o /tmp/file true; echo $?
srun --prolog=/bin/true true; echo $?
salloc -n1 true; echo $?
head -c 4194305 /dev/zero >/tmp/big.sh; sbatch /tmp/big.sh; echo $?
qsub -b y true; echo $?
`,
        timeoutMs: LONG_MS,
      });
      expect(stdout).toMatch(
        /^srun: \/tmp\/file .*alone.*\n1\nsrun: --prolog .*\n1\nsalloc: .*--no-shell.*\n1\ncaddis: \/tmp\/big\.sh .*4194304.*\n1\n.*qsub: command not found\n127\n$/,
      );
    },
    LONG_MS,
  );

  it.concurrent(
    'sbcast reaches the machines of all nodes',
    async () => {
      const { stdout } = await runBatch(lab, 'slurm', 'vm', {
        options: [...SLURM_VM, '-N2', '-n2'],
        joined: true,
        script: `#!/bin/bash
printf '#!/bin/sh\necho broadcast on $SLURM_NODEID\n' > prog; chmod 750 prog
sbcast -f prog /tmp/prog && srun -Q /tmp/prog | sort
`,
        timeoutMs: LONG_MS,
      });
      expect(stdout).toBe('broadcast on 0\nbroadcast on 1\n');
    },
    LONG_MS,
  );

  it.concurrent(
    'ends a command whose caller in the machine was killed',
    async () => {
      const job = await submit(lab, 'slurm', 'vm', {
        options: SLURM_VM,
        joined: true,
        script: `#!/bin/bash
srun -n1 sh -c ': >up; exec sleep 600' & p=$!
until [ -e up ] && [ -e go-kill ]; do sleep .1; done
kill -KILL $p; wait $p; echo $?
: >killed
until [ -e go ]; do sleep .2; done
`,
      });
      await until('srun to run on the host', async () => (await srunsIn(job.directory)) > 0 || undefined, {
        timeoutMs: LONG_MS,
        everyMs: 300,
      });
      await asUser(lab, ['touch', join(job.directory, 'go-kill')]);
      await until(
        'the stub to be killed',
        async () => (await readdir(job.directory)).includes('killed') || undefined,
        {
          timeoutMs: LONG_MS,
          everyMs: 300,
        },
      );
      // As natively: srun is dead, its step is the scheduler's to end.
      await until(
        'srun to go on the host',
        async () => ((await srunsIn(job.directory)) === 0 ? true : undefined),
        {
          timeoutMs: 60_000,
          everyMs: 500,
        },
      );
      await asUser(lab, ['touch', join(job.directory, 'go')]);
      expect(await waitForEnd(lab, 'slurm', job.id, LONG_MS)).toMatchObject({ exitCode: 0 });
      expect(await outOf(job.directory)).toContain('137\n');
    },
    LONG_MS,
  );
});

describe('a restart of caddisd', () => {
  it(
    'leaves relayed commands running, and none runs twice',
    async () => {
      const lab = await theLab();
      const job = await submit(lab, 'slurm', 'vm', {
        options: SLURM_VM,
        joined: true,
        script: `#!/bin/bash
srun -n1 --overlap sh -c 'echo x >>started; for i in $(seq 12); do echo line $i; sleep 1; done; exit 9' >lines & p=$!
until [ -e started ]; do sleep .1; done
for i in $(seq 12); do scontrol show hostnames n1 >>asked; r=$?; [ $r = 0 ] || echo asked: $r; sleep .5; done
wait $p; echo $?
`,
      });
      await until(
        'the step to run',
        async () => (await readdir(job.directory)).includes('started') || undefined,
        {
          timeoutMs: LONG_MS,
          everyMs: 300,
        },
      );
      for (const node of lab.nodes) {
        await stopOn(node);
        await startOn(lab, node);
      }
      expect(await waitForEnd(lab, 'slurm', job.id, LONG_MS)).toMatchObject({
        exitCode: 0,
        state: 'COMPLETED',
      });
      const lines = Array.from({ length: 12 }, (_, i) => `line ${i + 1}\n`).join('');
      expect(await readFile(join(job.directory, 'lines'), 'utf8')).toBe(lines);
      expect(await readFile(join(job.directory, 'started'), 'utf8')).toBe('x\n');
      // A question that was under way in the very moment may be lost, and says so; it is never asked twice.
      const out = await outOf(job.directory);
      expect(out.replace(/^(caddis: .*\nasked: 75\n)?/m, '')).toMatch(/^(srun: error: .* code 9\n)?9\n$/);
    },
    LONG_MS,
  );
});
