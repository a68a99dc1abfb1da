import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import type { Lab } from '../../lab/host.ts';
import { asUser, jobDirectory, runBatch } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { JOB_MS } from '../support/machines.ts';

/** docs/differences.md: what a machine does not give yet is refused with a message, never started to fail oddly. */
describe('what a machine does not give', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
  });

  it.concurrent.each([
    ['slurm', ['--gres=gpu:1', '--mem=200M'], /caddis: this job has GPUs 0 of n\d, and its virtual machine/],
    ['gridengine', ['-l', 'gpu=1'], /caddis: this job has -l gpu=1, and its virtual machine/],
  ] as const)('a GPU under %s', async (system, options, words) => {
    const job = { options, timeoutMs: JOB_MS };
    const vm = await runBatch(lab, system, 'vm', { ...job, script: '#!/bin/sh\necho ran\n' });
    expect(vm.stderr).toMatch(words);
    expect(vm).toMatchObject({ exitCode: 1, stdout: '' });
    const native = await runBatch(lab, system, 'native', { ...job, script: '#!/bin/sh\necho natively\n' });
    expect(native).toMatchObject({ exitCode: 0, stdout: 'natively\n' });
  });

  it.concurrent('srun --multi-prog, --container and --mpi', async () => {
    const script = `printf '0 echo a\\n1 echo b\\n' > programs
salloc -Q -p main --mem=200M -n2 -N1 -t 5 sh -c 'srun -Q --multi-prog programs; echo "multi $?"; SLURM_CONTAINER=/bundle srun -Q -n1 echo never; echo "container $?"; srun -Q -n1 --mpi=pmi2 echo never; echo "mpi $?"; SLURM_MPI_TYPE=none srun -Q -n1 echo without'`;
    const { stdout, stderr } = await asUser(lab, ['bash', '-c', script], {
      cwd: await jobDirectory(lab),
      timeoutMs: JOB_MS,
    });
    expect(stderr).toMatch(
      /caddis: srun --multi-prog cannot run .*: start each program with an srun of its own/,
    );
    expect(stderr).toMatch(/caddis: --container cannot run in a job's machine/);
    expect(stderr).toMatch(/caddis: srun --mpi=pmi2 cannot run in a job's machine/);
    expect(stdout).toBe('multi 1\ncontainer 1\nmpi 1\nwithout\n');
  });

  it.concurrent('--vm=off runs without a machine where the partition allows it', async () => {
    const script = '#!/bin/sh\ncat /proc/1/comm > init; srun -Q cat /proc/1/comm >> init\n';
    const init = async (vm: string) => {
      const options = [`--vm=${vm}`, '--mem=200M'];
      const { directory } = await runBatch(lab, 'slurm', 'vm', { script, options, timeoutMs: JOB_MS });
      return readFile(join(directory, 'init'), 'utf8');
    };
    // The lab's `main` is in policy.allow_off.
    expect(await init('off')).not.toContain('caddis-init');
    expect(await init('on')).toBe('caddis-init\ncaddis-init\n');
  });
});
