import { describe, expect, it } from 'vitest';

import { readStep } from '../../../src/scheduler/slurm/read-step.ts';
import { recorded } from './fixtures.ts';

describe('readStep', () => {
  it('carries and runs the batch script of the spool', () => {
    const script = '/var/spool/slurmd/job00001/slurm_script';
    expect(readStep(recorded('exec-batch'))).toMatchObject({
      name: 'batch',
      argv: [script, 'a', 'b c'],
      pathSearch: false,
      carry: [{ path: script, mode: 0o700, uid: 1001 }],
    });
  });

  it('looks a bare name up in PATH, as slurmstepd does', () => {
    expect(readStep(recorded('exec-srun'))).toMatchObject({
      name: '0',
      argv: ['echo', 'step IN_VM=1'],
      pathSearch: true,
      carry: [],
    });
  });

  it('knows the interactive step', () => {
    expect(readStep(recorded('exec-interactive'))).toMatchObject({
      name: 'interactive',
      argv: ['/bin/bash'],
    });
  });

  it('hides our own variables and no others', () => {
    const call = recorded('exec-batch');
    const { env } = readStep(call);
    const hidden = Object.keys(call.env).filter((name) => !(name in env));
    expect(hidden.sort()).toEqual(['CADDIS_ARGV0', 'CADDIS_KEY']);
  });

  it('carries nothing that only looks like a script of the spool', () => {
    const carried = (path: string, more = {}) =>
      readStep(recorded('exec-batch', { CADDIS_ARGV0: path, ...more })).carry;
    expect(carried('/etc/shadow')).toEqual([]);
    expect(carried('/var/spool/slurmd/job00001/../../slurm_script')).toEqual([]);
    expect(carried('/var/spool/slurmd/job00001/slurm_script', { SLURM_STEP_ID: '0' })).toEqual([]);
  });

  it('takes the words after -- where the plugin could prepend them (Slurm >= 23.11)', () => {
    const call = recorded('exec-srun', { CADDIS_ARGV0: undefined });
    expect(readStep({ ...call, args: ['--scheduler', 'slurm', '--', 'sh', '-c', '--'] }).argv).toEqual([
      'sh',
      '-c',
      '--',
    ]);
    expect(() => readStep({ ...call, args: ['sh'] })).toThrow(/CADDIS_ARGV0/);
  });
});
