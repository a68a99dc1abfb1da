import { expect, test } from 'vitest';

import { compatible } from '../../../src/checkpoint/compatible.ts';
import { manifestOf, TARGET } from '../../fault/store/world.ts';

const manifest = manifestOf('a');

test('a checkpoint goes on on a node like the one where it was taken', () => {
  expect(compatible(manifest, TARGET)).toBeUndefined();
});

test('a newer QEMU that knows the machine type reads it', () => {
  const newer = { ...TARGET, qemuVersion: '10.0.2', machineTypes: ['pc-q35-10.0', 'pc-q35-7.2'] };
  expect(compatible(manifest, newer)).toBeUndefined();
  expect(compatible({ ...manifest, qemuVersion: '7.2.19 (Debian 1:7.2)' }, TARGET)).toBeUndefined();
});

test.each([
  [{ key: { scheduler: 'slurm', jobId: '1', task: '0' } as const }, /job: .*slurm-4711.*slurm-1/],
  [{ submitIdentity: 'submitted 2' }, /another job with this id: .*submitted 1.*submitted 2/],
  [{ uid: 0 }, /uid: .*1000.*0/],
  [{ images: ['sha256:other'] }, /image sha256:image is not on this node \(sha256:other\)/],
  [{ images: [] }, /image sha256:image is not on this node \(none\)/],
  [{ acceleration: 'kvm' as const }, /acceleration: .*tcg.*kvm/],
  [{ cpuModel: 'EPYC' }, /CPU model: .*qemu64.*EPYC/],
  [{ machineTypes: ['pc-q35-10.0'] }, /machine type pc-q35-7\.2 .*pc-q35-10\.0/],
  [{ qemuVersion: '7.2.9' }, /QEMU: .*7\.2\.19.*older 7\.2\.9/],
  [{ qemuVersion: '7.1' }, /QEMU: .*7\.2\.19.*older 7\.1/],
])('%j is refused with both sides', (change, message) => {
  expect(compatible(manifest, { ...TARGET, ...change })).toMatch(message);
});
