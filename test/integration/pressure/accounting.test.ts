import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import type { NodeTop } from '../../../src/model/top.ts';
import type { AdvisedJob } from '../../../src/model/usage.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { repository } from '../../lab/layout.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, runBatch } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { endOf, JOB_MS, optionsFor, outputOf, startJob } from '../support/machines.ts';

const MiB = 1024 * 1024;
const CADDIS = [process.execPath, join(repository, 'dist/caddis.cjs')];
const HELD_MIB = 120;
/** Of the guest's clock: on a host that runs others meanwhile the machine has less. */
const BURN = `burn='import time
while time.process_time() < 2.5: pass'
`;
/** What two of them have at the very least: an idle client has a hundredth of it. */
const LEAST_SECONDS = 1;

describe('what a job really used', () => {
  let lab: Lab;
  let node: LabHost;
  const begunMs = Date.now();

  beforeAll(async () => {
    lab = await theLab();
    node = lab.nodes[0] as LabHost;
  });

  const advise = async (host: LabHost, ...words: string[]) =>
    JSON.parse(await on(host, [...CADDIS, 'advise', '--json', ...words])) as AdvisedJob[];
  const recordOf = async (host: LabHost, key: string) =>
    // A lab that was up before counted its jobs from 1 too, and its record may still be there.
    (await advise(host)).filter(({ job, ended_at: at }) => job === key && Date.parse(at) > begunMs);
  const qacct = async (id: string) => {
    const { stdout } = await asUser(lab, ['qacct', '-j', id]);
    return (name: string) => Number.parseFloat(new RegExp(`^${name}\\s+(\\S+)`, 'm').exec(stdout)?.[1] ?? '');
  };

  it('is in qacct and in its record, and all its processes together end at h_cpu', async () => {
    const [burnt, ended] = await Promise.all([
      runBatch(lab, 'gridengine', 'vm', {
        script: `#!/bin/bash\n${BURN}python3 -c "held = bytearray(b'x') * (${HELD_MIB} << 20)"\npython3 -c "$burn" & python3 -c "$burn"; wait`,
        options: optionsFor('gridengine', { node, memory: '700M', cpus: 2 }),
        timeoutMs: JOB_MS,
      }),
      runBatch(lab, 'gridengine', 'vm', {
        // None of them comes near the limit, which its own rlimits would see to.
        script: `#!/bin/bash\nfor i in 1 2 3 4; do python3 -c 'while True: pass' & done\nwait\necho not ended`,
        options: ['-l', `h_cpu=5,hostname=${lab.nodes[1]?.name}`],
        timeoutMs: JOB_MS,
      }),
    ]);
    expect(burnt).toMatchObject({ exitCode: 0, stderr: '' });
    const [record] = await recordOf(node, `gridengine-${burnt.id}.1`);
    expect(record).toMatchObject({ user: 'alice', queue: 'all.q', cpus: 2, memory_limit_bytes: 1400 * MiB });
    const { cpu_seconds: cpu = 0, memory_held_peak_bytes: held = 0 } = record ?? {};
    expect(cpu).toBeGreaterThan(LEAST_SECONDS);
    expect(cpu).toBeLessThanOrEqual(record?.host_cpu_seconds ?? 0);
    expect(held).toBeGreaterThan(HELD_MIB * MiB);
    expect(held).toBeLessThan((HELD_MIB + 60) * MiB);
    const account = await qacct(burnt.id);
    expect(account('cpu')).toBeCloseTo(cpu, 1);
    expect(account('ru_utime') + account('ru_stime')).toBeCloseTo(cpu, 1);
    // Kibibytes, which it shows as if they were bytes.
    expect(account('ru_maxrss')).toBeCloseTo(held / MiB, -1);
    expect(record?.ask).toMatch(/^-l h_vmem=\d+M/);

    expect(ended).toMatchObject({ state: '100 : assumedly after job', exitCode: 137, stdout: '' });
    expect((await qacct(ended.id))('cpu')).toBeGreaterThan(4.5);
  });

  it('is in the AdminComment of sacct, all runs of a moved job together', async () => {
    const job = await startJob(
      lab,
      'slurm',
      { node, memory: '300M' },
      `${BURN}python3 -c "$burn"\necho ready\nwhile [ ! -e go ]; do sleep 0.3; done\npython3 -c "$burn"`,
    );
    const top = JSON.parse(await on(node, [...CADDIS, 'top', '--once', '--json'])) as NodeTop;
    const before = top.jobs.find(({ job: key }) => key === job.key)?.cpu_seconds ?? 0;
    expect(before).toBeGreaterThan(LEAST_SECONDS / 2);
    await asUser(lab, ['scontrol', 'requeue', job.id]);
    await until(
      'the job to go on',
      async () => {
        const { stdout } = await asUser(lab, ['scontrol', '-o', 'show', 'job', job.id]);
        return /Restarts=1 /.test(stdout) && /JobState=RUNNING/.test(stdout);
      },
      { timeoutMs: JOB_MS },
    );
    await asUser(lab, ['touch', join(job.directory, 'go')]);
    expect(await endOf(job)).toMatchObject({ exitCode: 0 });
    expect(await outputOf(job)).toBe('ready\n');
    const comment = await until(
      'the AdminComment',
      async () => {
        const { stdout } = await asUser(lab, ['sacct', '-nXP', '-j', job.id, '-o', 'AdminComment']);
        return stdout.startsWith('caddis:') && stdout;
      },
      { timeoutMs: 60_000, everyMs: 500 },
    );
    const [, cpu = ''] = /cpu=([\d.]+)/.exec(comment) ?? [];
    expect(Number(cpu)).toBeGreaterThan(before + LEAST_SECONDS / 2);
    expect(comment).toMatch(/,mem_peak=\d+m,.*,mem_limit=300m,oom=0$/m);
    const records = (await Promise.all(lab.nodes.map((host) => recordOf(host, job.key)))).flat();
    expect(records).toHaveLength(1);
    expect(records[0]?.cpu_seconds).toBeCloseTo(Number(cpu), 1);
    expect(records[0]?.ask).toMatch(/^--mem=\d+M$/);
  });

  it('is told to its user and to root, and to nobody else', async () => {
    const ask = (user: string, ...words: string[]) =>
      asUser(lab, [...CADDIS, 'advise', ...words], { host: node.name, user });
    const own = await ask('alice');
    expect(own).toMatchObject({ exitCode: 0, stderr: '' });
    expect(own.stdout).toMatch(/^JOB .*ASK FOR\n(.*\n)*gridengine-\d+\.1 /);
    expect(await ask('bob', 'alice')).toMatchObject({ exitCode: 1, stdout: '' });
    const stranger = await asUser(lab, [...CADDIS, 'advise'], { host: node.name, user: 'bob' });
    expect(stranger.stderr).toContain('none of your jobs has ended on this node');
    const alices = await on(node, ['sh', '-c', 'stat -c "%a %U" /run/caddis/users/*.sock']);
    expect(alices.trim().split('\n')).toContain('600 alice');
    expect(await advise(node, 'bob')).toEqual([]);
    expect((await advise(node, 'alice', '--last', '1')).length).toBe(1);
  });
});
