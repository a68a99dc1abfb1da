import { describe, expect, it } from 'vitest';

import { decide, defaultPolicy } from '../../../hooks/gridengine/jsv/decide.ts';
import { readLending } from '../../../hooks/gridengine/jsv/lend.ts';
import { JsvProtocol } from '../../../hooks/gridengine/jsv/protocol.ts';
import type { Submission } from '../../../hooks/gridengine/jsv/submission.ts';

const policy = {
  ...defaultPolicy,
  checkpointEnvironments: new Map([
    ['all.q', 'caddis'],
    ['scavenge.q', 'caddis-move'],
  ]),
  lending: readLending(['--lend=scavenge.q', '--small=memory=1G,slots=2,h_rt=0:30:0']),
  defaultQueue: 'all.q',
};

/** What becomes of `-l LIST` and the rest. */
function of(list: string, more: Partial<Submission> = {}) {
  const hard = new Map(list.split(',').map((one) => one.split('=') as [string, string]));
  const decision = decide(
    {
      ...{ hard, queues: [], checkpointEnvironment: undefined, rerun: undefined, interactive: false },
      ...{ slots: 1, ...more },
    },
    policy,
  );
  if (decision.state === 'reject') return decision.reason;
  const asked = [...(decision.hard ?? hard)].map(([name, value]) => `${name}=${value}`).join(',');
  return { asked, queue: decision.queues?.join(), environment: decision.checkpointEnvironment };
}

describe('a job that is lent its memory', () => {
  it('asks for slack in the place of memory, in the queue that it names', () => {
    const named = { queues: ['scavenge.q@n1'] };
    const lent = { queue: undefined, environment: 'caddis-move' };
    expect(of('h_vmem=2G', named)).toEqual({ asked: 'scavenge=TRUE,vm_mem_slack=2G', ...lent });
    expect(of('vmm=2G,arch=x', named)).toEqual({ asked: 'arch=x,scavenge=TRUE,vm_mem_slack=2G', ...lent });
    expect(of('h_vmem=2G,vms=1M', named)).toMatchObject({ asked: 'vm_mem_slack=2G,scavenge=TRUE' });
  });

  it('asks for the memory of all of its slots: a load value is not counted by slot', () => {
    expect(of('h_vmem=1G', { queues: ['scavenge.q'], slots: 4 })).toMatchObject({
      asked: `scavenge=TRUE,vm_mem_slack=${4 * 2 ** 30}`,
    });
  });

  it('goes to the queue by itself when it is small and short, and says so', () => {
    expect(of('h_vmem=1G,h_rt=0:30:0')).toEqual({
      asked: 'h_rt=0:30:0,scavenge=TRUE,vm_mem_slack=1G',
      queue: 'scavenge.q',
      environment: 'caddis-move',
    });
    const ordinary = { queue: 'all.q', environment: 'caddis' };
    expect(of('h_vmem=1G,h_rt=1801')).toEqual({ asked: 'h_rt=1801,vm_mem=1G', ...ordinary });
    for (const list of ['h_vmem=1025M,h_rt=60', 'h_rt=60', 'h_vmem=1M', 'h_vmem=1M,h_rt=INFINITY'])
      expect(of(list)).toMatchObject({ queue: 'all.q' });
    const small = 'h_vmem=1M,h_rt=60';
    expect(of(small, { slots: 3 })).toMatchObject({ queue: 'all.q' });
    expect(of(small, { interactive: true })).toMatchObject({ queue: 'all.q' });
    expect(of(small, { rerun: 'n' })).toMatchObject({ queue: 'all.q' });
    expect(of(small, { checkpointEnvironment: 'own' })).toMatchObject({ queue: 'all.q' });
    expect(of(small, { queues: ['all.q'] })).toMatchObject({ queue: undefined, asked: 'h_rt=60,vm_mem=1M' });
  });

  it('is told at submission what keeps it out', () => {
    const named = { queues: ['scavenge.q'] };
    expect(of('arch=x', named)).toMatch(/say how much memory/);
    expect(of('h_vmem=1M', { ...named, interactive: true })).toMatch(/batch jobs only/);
    expect(of('h_vmem=1M', { ...named, rerun: 'n' })).toMatch(/-r n/);
    expect(of('h_vmem=1M', { queues: ['all.q', 'scavenge.q'] })).toMatchObject({ asked: 'vm_mem=1M' });
  });

  it('is sent there in the words of the protocol', () => {
    const protocol = new JsvProtocol(policy);
    for (const line of ['START', 'PARAM l_hard h_vmem=10M,h_rt=60', 'PARAM pe_max 2']) protocol.receive(line);
    expect(protocol.receive('BEGIN').answers).toEqual(
      expect.arrayContaining([
        'PARAM l_hard h_rt=60,scavenge=TRUE,vm_mem_slack=20971520',
        'PARAM q_hard scavenge.q',
        'PARAM ckpt caddis-move',
      ]),
    );
  });
});

describe('readLending', () => {
  it('names a word that it does not understand', () => {
    expect(readLending([])).toBeUndefined();
    expect(readLending(['--lend=s.q'])).toMatchObject({ queue: 's.q', small: undefined });
    for (const small of ['memory=1G', 'memory=x,h_rt=1', 'h_rt=60', 'memory=1G,h_rt=1,slots=x'])
      expect(() => readLending(['--lend=s.q', `--small=${small}`])).toThrow(`--small=${small}`);
  });
});
