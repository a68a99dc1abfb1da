import { describe, expect, it } from 'vitest';

import { BadHookCall } from '../../../src/scheduler/scheduler.ts';
import { readProlog } from '../../../src/scheduler/slurm/read-prolog.ts';
import { recorded } from './fixtures.ts';

describe('readProlog', () => {
  it('reads a batch job', () => {
    expect(readProlog(recorded('prolog-batch'))).toMatchObject({
      key: { scheduler: 'slurm', jobId: '1', task: '0' },
      restartCount: 0,
      user: 'alice',
      uid: 1001,
      gid: 1002,
      cpus: 1,
      memoryBytes: undefined,
      queue: 'main',
      vm: undefined,
      devices: undefined,
      requeueable: true,
    });
  });

  it('takes salloc as not requeueable', () => {
    expect(readProlog(recorded('prolog-salloc')).requeueable).toBe(false);
  });

  it('takes the CPUs of its own node', () => {
    expect(readProlog(recorded('prolog-two-nodes-n1')).cpus).toBe(4);
    expect(readProlog(recorded('prolog-two-nodes-n2')).cpus).toBe(1);
    expect(readProlog(recorded('prolog-two-nodes-n2', { SLURMD_NODENAME: 'n9' })).cpus).toBeUndefined();
  });

  it('reads --vm, and nothing that is not on or off', () => {
    expect(readProlog(recorded('prolog-vm-off')).vm).toBe('off');
    expect(readProlog(recorded('prolog-vm-off', { SPANK_CADDIS_VM: 'off; reboot' })).vm).toBeUndefined();
  });

  it.each([
    ['90', 90_000],
    ['30m', 1_800_000],
    ['2h', 7_200_000],
    ['1s', 5_000],
    ['0', undefined],
    ['1d', undefined],
    ['5; reboot', undefined],
  ])('reads --vm-checkpoint=%s', (text, milliseconds) => {
    expect(readProlog(recorded('prolog-batch', { SPANK_CADDIS_CHECKPOINT: text })).checkpointMs).toBe(
      milliseconds,
    );
  });

  it('names the GPUs of a job', () => {
    expect(readProlog(recorded('prolog-batch', { SLURM_JOB_GPUS: '0,2' })).devices).toMatch(/^GPUs 0,2 of /);
  });

  it('names the variable that is missing or malformed', () => {
    const call = (changes: Record<string, string | undefined>) => () =>
      readProlog(recorded('prolog-batch', changes));
    expect(call({ SLURM_JOB_UID: undefined })).toThrow(/SLURM_JOB_UID.*nothing/);
    expect(call({ SLURM_JOB_ID: '../1' })).toThrow(/SLURM_JOB_ID, got "\.\.\/1"/);
    expect(call({ SLURM_JOB_ID: '-1' })).toThrow(BadHookCall);
  });
});
