import { describe, expect, it } from 'vitest';

import { gridEngineRelayRule } from '../../../src/scheduler/gridengine/relay.ts';
import { slurmRelayRule } from '../../../src/scheduler/slurm/relay.ts';

const script = (rule: ReturnType<typeof slurmRelayRule>, argv: string[]) =>
  rule.allow && rule.script !== undefined ? argv[rule.script] : undefined;

describe('Slurm commands inside a job', () => {
  it.each([
    [['sbatch', 'job.sh', 'a'], 'job.sh'],
    [['sbatch', '-n', '4', '--mem=1G', '-pmain', 'job.sh', '-x'], 'job.sh'],
    [['sbatch', '--mem', '1G', '--parsable', '--wait', 'job.sh'], 'job.sh'],
    [['sbatch', '-Wn', '2', 'job.sh'], 'job.sh'],
    [['sbatch', '-vn2', 'job.sh'], 'job.sh'],
    [['sbatch', '--', '-odd.sh'], '-odd.sh'],
    [['sbatch', '--kill-on-invalid-dep', 'yes', 'job.sh'], 'job.sh'],
    [['sbatch', '--wait-all-nodes', '1', '--propagate', 'job.sh'], 'job.sh'],
    [['sbatch', '--exclus', '--parti', 'main', 'job.sh'], 'job.sh'],
    [['sbatch', '--wra', 'hostname'], undefined],
    [['sbatch', '--wrap', 'hostname'], undefined],
    [['sbatch', '--wrap=hostname'], undefined],
    [['sbatch', '-n', '2'], undefined],
  ])('finds the script of %j', (argv, expected) => {
    expect(script(slurmRelayRule(argv, {}, '/usr/bin'), argv)).toBe(expected);
  });

  it.each([
    [['srun', '--prolog=/tmp/x', 'true'], /outside/],
    [['srun', '-n2', '--epilog', '/tmp/x', 'true'], /outside/],
    [['srun', '--prolo=/tmp/x', 'true'], /outside/],
    [['srun', '--x11', '--ep', '/tmp/x', 'true'], /outside/],
    [['salloc', '-n1', 'bash'], /no-shell/],
    [['reboot'], /cannot be used/],
    [['/usr/bin/srun', 'true'], /cannot be used/],
    [['sbcast', 'a'], /SOURCE and TARGET/],
  ])('refuses %j', (argv, message) => {
    expect(slurmRelayRule(argv, {}, '/usr/bin')).toMatchObject({
      allow: false,
      message: expect.stringMatching(message),
    });
  });

  it.each([
    [['scontrol', 'requeue', '17'], true],
    [['scontrol', '-Q', 'requeuehold', '16_3'], true],
    [['scontrol', 'requeue', '5,17'], true],
    [['scontrol', 'requeue', '18'], false],
    [['scontrol', 'hold', '17'], false],
    [['squeue', 'requeue', '17'], false],
  ])('knows whether %j is a job that puts itself back', (argv, putsJobBack) => {
    const env = { SLURM_JOB_ID: '17', SLURM_ARRAY_JOB_ID: '16', SLURM_ARRAY_TASK_ID: '3' };
    expect(slurmRelayRule(argv, env, '/usr/bin')).toMatchObject({ allow: true, putsJobBack });
  });

  it.each(['SLURM_PROLOG', 'SLURM_EPILOG'])('refuses srun where %s says the same', (name) => {
    expect(slurmRelayRule(['srun', 'true'], { [name]: '/tmp/x' }, '/usr/bin').allow).toBe(false);
  });

  it("takes a program's own options for what they are", () => {
    expect(slurmRelayRule(['srun', 'prog', '--prolog=x'], {}, '/usr/bin')).toMatchObject({
      allow: true,
      program: '/usr/bin/srun',
    });
  });
});

describe('sbcast inside a job', () => {
  const copies = (...argv: string[]) => {
    const rule = slurmRelayRule(['sbcast', ...argv], { SLURM_JOB_NUM_NODES: '3' }, '/usr/bin');
    return rule.allow && { program: rule.program, nodes: rule.argv?.[6], last: rule.argv?.slice(-4) };
  };

  it('is a copy in each machine of the job', () => {
    expect(copies('a', '/tmp/a')).toEqual({
      program: '/usr/bin/srun',
      nodes: '3',
      last: ['no', '', 'a', '/tmp/a'],
    });
  });

  it.each([
    [
      ['-f', 'a', 'b'],
      ['yes', '', 'a', 'b'],
    ],
    [
      ['-vfp', '-F', '4', 'a', 'b'],
      ['yes', '-p', 'a', 'b'],
    ],
    [
      ['--preserve', '--compress=lz4', '-t30', 'a', '-f'],
      ['no', '-p', 'a', '-f'],
    ],
  ])('takes %j', (argv, last) => {
    expect(copies(...argv)).toMatchObject({ last });
  });
});

describe('files that a Slurm command opens on the host', () => {
  it.each([
    [
      ['srun', '-o', '/tmp/a', '--error=/tmp/b', '-i/tmp/c', 'prog', '-o', 'no'],
      ['/tmp/a', '/tmp/b', '/tmp/c'],
    ],
    [['srun', '-o', 'none', '-e', '/dev/null', '-i', '0', '-w', 'n1', 'prog'], []],
    [
      ['srun', '-w', './hosts', '-F', 'nodes', 'prog'],
      ['./hosts', 'nodes'],
    ],
    [['srun', '-n2', '-l', '--', '-o'], []],
    [['sbatch', '-o', '/tmp/a', '--export-file', 'env', 'job.sh'], ['env']],
  ])('of %j', (argv, expected) => {
    const rule = slurmRelayRule(argv, {}, '/usr/bin');
    expect(rule.allow && rule.files).toEqual(expected);
  });

  it('srun that names its directory starts no step where it stands', () => {
    expect(slurmRelayRule(['srun', 'prog'], {}, '/usr/bin')).toMatchObject({ startsStep: true });
    expect(slurmRelayRule(['srun', '-D', '/x', 'prog'], {}, '/usr/bin')).toMatchObject({ startsStep: false });
  });
});

describe('Grid Engine commands inside a job', () => {
  it.each([
    [['qsub', '-cwd', '-N', 'x', '-l', 'h_vmem=1G', 'job.sh', '-l'], 'job.sh'],
    [['qsub', '-b', 'n', 'job.sh'], 'job.sh'],
    [['qsub', '-b', 'y', 'hostname'], undefined],
    [['qsub', '-w', 'n', 'job.sh'], 'job.sh'],
    [['qsub', '-'], undefined],
    [['qsub', '-pe', 'smp', '4', 'job.sh'], 'job.sh'],
    [['qsub', '-binding', 'set', 'linear:1', 'job.sh'], 'job.sh'],
    [['qsub', '-binding', 'linear:1', 'job.sh'], 'job.sh'],
  ])('finds the script of %j', (argv, expected) => {
    expect(script(gridEngineRelayRule(argv, '/usr/bin'), argv)).toBe(expected);
  });

  it('knows no others', () => {
    expect(gridEngineRelayRule(['qmaster'], '/usr/bin').allow).toBe(false);
  });
});
