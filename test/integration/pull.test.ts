import { randomBytes } from 'node:crypto';
import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { type Connection, createFlags, isNoDomain, Libvirt, xmlFlags } from '../../src/libvirt/index.ts';
import { MiB } from '../../src/model/units.ts';
import { Hypervisor, isSavedBefore } from '../../src/vm/hypervisor.ts';
import { peerUri, pullMachine } from '../../src/vm/peer.ts';
import { retargetXml } from '../../src/vm/retarget.ts';
import { emptyMachineXml } from './support/empty-machine.ts';
import { type PrivateLibvirtd, startPrivateLibvirtd } from './support/private-libvirtd.ts';

const slowMs = 60_000;
const none = { ca: '/none', cert: '/none', key: '/none' };
const DISK_BYTES = 64 * MiB;

let one: PrivateLibvirtd;
let two: PrivateLibvirtd;
const opened: Libvirt<Connection>[] = [];

beforeAll(async () => {
  one = await startPrivateLibvirtd('a');
  two = await startPrivateLibvirtd('b');
});
afterAll(async () => {
  for (const libvirt of opened) await libvirt.close();
  await one?.stop();
  await two?.stop();
});
afterEach(async (context) => {
  if (context.task.result?.state === 'fail') console.error(await one.log(), await two.log());
});

async function connect(to: PrivateLibvirtd): Promise<Libvirt<Connection>> {
  const libvirt = await Libvirt.open('qemu:///system', { endpoint: { kind: 'unix', path: to.socketPath } });
  opened.push(libvirt);
  await libvirt.version({ timeoutMs: slowMs });
  return libvirt;
}

const uriOf = (daemon: PrivateLibvirtd) =>
  peerUri(`qemu+tcp://{host}:${daemon.tcpPort}/system`, '127.0.0.1') ?? 'none';

/** A machine that stands still, with a scratch disk that has something in it. */
async function standing(source: Libvirt, name: string) {
  const disk = join(one.directory, `${name}.img`);
  const content = randomBytes(MiB);
  await writeFile(disk, content);
  await truncate(disk, DISK_BYTES);
  const root = join(one.directory, `${name}.root`);
  await writeFile(root, Buffer.alloc(MiB));
  const device = `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${root}'/><target dev='vda' bus='virtio'/><readonly/><shareable/></disk><disk type='file' device='disk'><driver name='qemu' type='raw' cache='writeback'/><source file='${disk}'/><target dev='vdb' bus='virtio'/></disk>`;
  const xml = emptyMachineXml({ name }).replace('</devices>', `${device}</devices>`);
  const domain = await source.createXml(xml, createFlags.paused, { timeoutMs: slowMs });
  const restorable = await source.xml(domain, xmlFlags.migratable | xmlFlags.secure);
  const arrives = join(two.directory, `${name}.img`);
  return { domain, content, disk, arrives, xml: retargetXml(restorable, [[disk, arrives]]) };
}

describe('a machine that stands still', () => {
  it('is pulled with its disk by another host, and stands still there', { timeout: 120_000 }, async () => {
    const [source, target] = [await connect(one), await connect(two)];
    const { domain, content, arrives, xml } = await standing(source, 'pulled');
    await writeFile(arrives, '');
    await truncate(arrives, DISK_BYTES);
    const machine = { name: 'pulled', xml, hasScratch: true };
    const begun = performance.now();
    await pullMachine(uriOf(one), uriOf(two), machine, none, { timeoutMs: slowMs });
    console.log(`pulled in ${Math.round(performance.now() - begun)} ms`);
    await expect(source.lookupByUuid(domain.uuid)).rejects.toSatisfy(isNoDomain);
    const arrived = await target.lookupByName('pulled');
    expect(await target.state(arrived)).toMatchObject({ state: 'paused' });
    expect(await target.xml(arrived)).toContain(arrives);
    await target.destroy(arrived);
    const bytes = await readFile(arrives);
    expect(bytes.length).toBe(DISK_BYTES);
    expect(bytes.subarray(0, MiB).equals(content)).toBe(true);
    expect(bytes.subarray(MiB).every((byte) => byte === 0)).toBe(true);
  });

  it('whose memory was saved is saved again, and leaves, once it has run for an instant', {
    timeout: 120_000,
  }, async () => {
    const [source, target] = [await connect(one), await connect(two)];
    const { domain, arrives, xml } = await standing(source, 'saved');
    const reconnecting = async () => {
      const endpoint = { kind: 'unix', path: one.socketPath } as const;
      const libvirt = Libvirt.openReconnecting('qemu:///system', { endpoint });
      await libvirt.rpc.ready({ timeoutMs: slowMs });
      return libvirt;
    };
    const hypervisor = new Hypervisor(await reconnecting(), await reconnecting());
    const runBriefly = async () => {
      await source.resume(domain);
      await source.suspend(domain);
    };
    const to = (file: string) => join(one.directory, file);
    const options = { timeoutMs: slowMs, signal: AbortSignal.timeout(slowMs) };
    try {
      await hypervisor.saveMemory(domain, to('first'), options);
      await expect(hypervisor.saveMemory(domain, to('second'), options)).rejects.toSatisfy(isSavedBefore);
      await runBriefly();
      expect(await source.state(domain)).toMatchObject({ state: 'paused' });
      await hypervisor.saveMemory(domain, to('third'), options);
      expect((await stat(to('third'))).size).toBeGreaterThan(MiB / 2);
      await writeFile(arrives, '');
      await truncate(arrives, DISK_BYTES);
      const machine = { name: 'saved', xml, hasScratch: true };
      const pull = () => pullMachine(uriOf(one), uriOf(two), machine, none, { timeoutMs: slowMs });
      await expect(pull()).rejects.toSatisfy(isSavedBefore);
      expect(await source.state(domain)).toMatchObject({ state: 'paused' });
      await runBriefly();
      await pull();
      const arrived = await target.lookupByName('saved');
      expect(await target.state(arrived)).toMatchObject({ state: 'paused' });
      await target.destroy(arrived);
    } finally {
      await hypervisor.close();
    }
  });

  it('stays where it was when it cannot arrive, and one that runs is not taken', {
    timeout: 120_000,
  }, async () => {
    const [source, target] = [await connect(one), await connect(two)];
    const { domain, xml } = await standing(source, 'stays');
    const machine = { name: 'stays', xml, hasScratch: true };
    // Nothing was made for its disk there.
    const pulling = pullMachine(uriOf(one), uriOf(two), machine, none, { timeoutMs: slowMs });
    await expect(pulling).rejects.toThrow(/storage/i);
    await expect(target.lookupByName('stays')).rejects.toSatisfy(isNoDomain);
    expect(await source.state(domain)).toMatchObject({ state: 'paused' });
    await source.resume(domain);
    const running = pullMachine(uriOf(one), uriOf(two), machine, none, { timeoutMs: slowMs });
    await expect(running).rejects.toThrow(/expected paused/);
    expect(await source.state(domain)).toMatchObject({ state: 'running' });
    await source.destroy(domain);
  });

  it('is not asked for where nobody answers', async () => {
    const machine = { name: 'pulled', xml: '', hasScratch: false };
    const nobody = pullMachine('qemu+tcp://127.0.0.1:9/system', uriOf(two), machine, none, {
      timeoutMs: 5_000,
    });
    await expect(nobody).rejects.toThrow(/cannot connect/);
  });
});
