import { describe, expect, it } from 'vitest';

import { readStep } from '../../../src/scheduler/slurm/read-step.ts';
import { recorded } from './fixtures.ts';

describe('readStep', () => {
  it('carries and runs the batch script of the spool', () => {
    const script = '/var/spool/slurmd/job00001/slurm_script';
    expect(readStep(recorded('exec-batch'))).toMatchObject({
      name: 'batch',
      argv: [script, 'a', 'b c'],
      pathSearch: 'first',
      carry: [{ path: script, mode: 0o700, uid: 1001 }],
    });
  });

  it('looks a bare name up in PATH, as slurmstepd does', () => {
    expect(readStep(recorded('exec-srun'))).toMatchObject({
      name: '0',
      argv: ['echo', 'step IN_VM=1'],
      pathSearch: 'first',
      carry: [],
    });
  });

  it('has our variables by their own names, which srun --export=NONE would not hand on', () => {
    const call = recorded('exec-srun');
    const { env } = readStep({ ...call, env: { ...call.env, SLURM_CADDIS_RELAY: '5' } });
    expect(env).toMatchObject({ CADDIS_RELAY: '5' });
    expect(env).not.toHaveProperty('SLURM_CADDIS_RELAY');
  });

  it('knows the interactive step', () => {
    expect(readStep(recorded('exec-interactive'))).toMatchObject({
      name: 'interactive',
      argv: ['/bin/bash'],
    });
  });

  it('leaves the environment as the client gives it', () => {
    const call = recorded('exec-batch');
    expect(readStep(call).env).toEqual(call.env);
  });

  it('carries nothing that only looks like a script of the spool', () => {
    const carried = (path: string, more = {}) =>
      readStep({ ...recorded('exec-batch', more), args: [path] }).carry;
    expect(carried('/etc/shadow')).toEqual([]);
    expect(carried('/var/spool/slurmd/job00001/../../slurm_script')).toEqual([]);
    expect(carried('/var/spool/slurmd/job00001/slurm_script', { SLURM_STEP_ID: '0' })).toEqual([]);
  });

  it('takes the words after -- where the plugin could prepend them (Slurm >= 23.11)', () => {
    const argvOf = (...args: string[]) => readStep({ ...recorded('exec-srun'), args }).argv;
    expect(argvOf('--scheduler', 'slurm', '--', 'sh', '-c', '--')).toEqual(['sh', '-c', '--']);
    expect(argvOf('sh', '--', 'x')).toEqual(['sh', '--', 'x']);
    expect(() => argvOf()).toThrow(/expected the task's command/);
    expect(() => argvOf('--scheduler', 'slurm', '--')).toThrow(/expected the task's command/);
  });
});
