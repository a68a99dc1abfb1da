import { describe, expect, it } from 'vitest';

import { decide, defaultPolicy } from '../../../hooks/gridengine/jsv/decide.ts';
import { JsvProtocol } from '../../../hooks/gridengine/jsv/protocol.ts';
import { parseMemory } from '../../../hooks/gridengine/jsv/sizes.ts';
import type { Submission } from '../../../hooks/gridengine/jsv/submission.ts';

/** Sends lines, returns all that was answered. */
function converse(...lines: string[]): string[] {
  const protocol = new JsvProtocol();
  return lines.flatMap((line) => [...protocol.receive(line).answers]);
}

describe('JSV', () => {
  it('moves h_vmem into the consumable and tells the prolog', () => {
    expect(converse('START', 'PARAM VERSION 1.0', 'PARAM l_hard arch=lx-amd64,h_vmem=2G', 'BEGIN')).toEqual([
      'STARTED',
      'PARAM l_hard arch=lx-amd64,vm_mem=2G',
      'ENV ADD CADDIS_MEM 2147483648 h_vmem=2G',
      'ENV ADD CADDIS_TMP 0 none',
      'ENV ADD CADDIS_DEVICES none',
      'RESULT STATE CORRECT',
    ]);
  });
  it('leaves the requests alone when there is no h_vmem, and overrides what a user puts into the environment', () => {
    expect(converse('START', 'BEGIN')).toEqual([
      'STARTED',
      'ENV ADD CADDIS_MEM 0 none',
      'ENV ADD CADDIS_TMP 0 none',
      'ENV ADD CADDIS_DEVICES none',
      'RESULT STATE CORRECT',
    ]);
  });
  it('tells the prolog which devices of the host were asked for', () => {
    expect(converse('START', 'PARAM l_hard gpu=2,h_vmem=1G', 'BEGIN')).toContain(
      'ENV ADD CADDIS_DEVICES gpu=2',
    );
    expect(converse('START', 'PARAM l_hard gpu=0', 'BEGIN')).toContain('ENV ADD CADDIS_DEVICES none');
  });
  it('forgets a job before the next', () => {
    const lines = converse('START', 'PARAM l_hard h_vmem=2G', 'BEGIN', 'START', 'BEGIN');
    expect(lines.slice(5)).not.toContain('ENV ADD CADDIS_MEM 2147483648 h_vmem=2G');
  });
  it('answers every BEGIN and survives garbage', () => {
    expect(converse('', 'garbage', 'PARAM', 'PARAM x', '\u0000', 'BEGIN')).toEqual(['RESULT STATE ACCEPT']);
    expect(converse('START', 'PARAM l_hard ,,=,h_vmem', 'BEGIN').at(-1)).toMatch(
      /^RESULT STATE REJECT caddis: /,
    );
    expect(new JsvProtocol().receive('QUIT').quit).toBe(true);
  });
});

const submission = {
  hard: new Map<string, string>(),
  queues: [] as string[],
  checkpointEnvironment: undefined,
  rerun: undefined,
  interactive: false,
  slots: 1,
};

describe('decide', () => {
  it('makes the jobs of a queue movable, unless their user said otherwise', () => {
    const policy = {
      ...defaultPolicy,
      checkpointEnvironments: new Map([
        ['all.q', 'caddis'],
        ['s.q', 'caddis-move'],
      ]),
    };
    const chosen = (changes: Partial<Submission>) => {
      const decision = decide({ ...submission, ...changes }, policy);
      return 'checkpointEnvironment' in decision ? decision.checkpointEnvironment : decision;
    };
    expect(chosen({ queues: ['all.q@n1'] })).toBe('caddis');
    expect(chosen({ queues: ['s.q'] })).toBe('caddis-move');
    expect(chosen({ queues: ['all.q', 's.q'] })).toBeUndefined();
    expect(chosen({ queues: ['native.q'] })).toBeUndefined();
    expect(chosen({ queues: [] })).toBeUndefined();
    expect(chosen({ queues: ['all.q'], checkpointEnvironment: 'own' })).toBeUndefined();
    expect(chosen({ queues: ['all.q'], rerun: 'n' })).toBeUndefined();
    expect(chosen({ queues: ['all.q'], interactive: true })).toBeUndefined();
    expect(chosen({ queues: ['all.q'], notify: true })).toBeUndefined();
    expect(chosen({ queues: ['s.q'], notify: true })).toBe('caddis-move');
    const lines = new JsvProtocol(policy);
    lines.receive('START');
    lines.receive('PARAM q_hard all.q');
    expect(lines.receive('BEGIN').answers).toEqual(expect.arrayContaining(['PARAM ckpt caddis']));
  });

  it('tells users of jobs on several hosts: qsub itself prints it, a qmaster makes a note on the job', () => {
    const policy = { ...defaultPolicy, spreading: new Set(['mpi']) };
    const said = (...lines: string[]) => {
      const protocol = new JsvProtocol(policy);
      for (const line of ['START', ...lines]) protocol.receive(line);
      return protocol.receive('BEGIN').answers;
    };
    expect(said('PARAM CONTEXT client', 'PARAM pe_name mpi')).toContainEqual(
      expect.stringMatching(/^LOG INFO caddis: -pe mpi may spread this job .* starts afresh$/),
    );
    expect(said('PARAM CONTEXT server', 'PARAM pe_name mpi', 'PARAM ac a=1')).toContainEqual(
      expect.stringMatching(/^PARAM ac a=1,caddis=-pe_mpi_may_[A-Za-z_:]+starts_afresh$/),
    );
    for (const lines of [['PARAM pe_name smp'], []]) expect(said(...lines).join('\n')).not.toMatch(/afresh/);
  });

  it('prefers the own consumable, reads shortcuts, ignores INFINITY', () => {
    const of = (list: [string, string][]) => decide({ ...submission, hard: new Map(list) });
    expect(
      of([
        ['h_vmem', '2G'],
        ['vmm', '1G'],
      ]),
    ).toMatchObject({ env: { CADDIS_MEM: '1073741824 vm_mem=1G' } });
    expect(of([['vf', '1G']])).toMatchObject({
      hard: undefined,
      env: { CADDIS_MEM: '1073741824 virtual_free=1G' },
    });
    expect(of([['h_vmem', 'INFINITY']])).toMatchObject({ hard: new Map(), env: { CADDIS_MEM: '0 none' } });
    expect(of([['vm_tmp', '20x']])).toMatchObject({ state: 'reject' });
  });
  it.each([
    ['2G', 2 ** 31],
    ['2g', 2e9],
    ['1.5M', 1_572_864],
    ['0x400', 1024],
    ['512', 512],
    ['2GB', undefined],
    ['-1', undefined],
    ['', undefined],
  ])('reads %s as sge_types(1) says', (text, bytes) => expect(parseMemory(text)).toBe(bytes));
});
