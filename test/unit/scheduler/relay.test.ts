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
    [['sbatch', '--wrap', 'hostname'], undefined],
    [['sbatch', '--wrap=hostname'], undefined],
    [['sbatch', '-n', '2'], undefined],
  ])('finds the script of %j', (argv, expected) => {
    expect(script(slurmRelayRule(argv, '/usr/bin'), argv)).toBe(expected);
  });

  it.each([
    [['srun', '--prolog=/tmp/x', 'true'], /outside/],
    [['srun', '-n2', '--epilog', '/tmp/x', 'true'], /outside/],
    [['salloc', '-n1', 'bash'], /no-shell/],
    [['reboot'], /cannot be used/],
    [['/usr/bin/srun', 'true'], /cannot be used/],
  ])('refuses %j', (argv, message) => {
    expect(slurmRelayRule(argv, '/usr/bin')).toMatchObject({ allow: false, message: expect.stringMatching(message) });
  });

  it("takes a program's own options for what they are", () => {
    expect(slurmRelayRule(['srun', 'prog', '--prolog=x'], '/usr/bin')).toMatchObject({ allow: true, program: '/usr/bin/srun' });
  });
});

describe('Grid Engine commands inside a job', () => {
  it.each([
    [['qsub', '-cwd', '-N', 'x', '-l', 'h_vmem=1G', 'job.sh', '-l'], 'job.sh'],
    [['qsub', '-b', 'n', 'job.sh'], 'job.sh'],
    [['qsub', '-b', 'y', 'hostname'], undefined],
    [['qsub', '-w', 'n', 'job.sh'], 'job.sh'],
    [['qsub', '-'], undefined],
  ])('finds the script of %j', (argv, expected) => {
    expect(script(gridEngineRelayRule(argv, '/usr/bin'), argv)).toBe(expected);
  });

  it('knows no others', () => {
    expect(gridEngineRelayRule(['qmaster'], '/usr/bin').allow).toBe(false);
  });
});
