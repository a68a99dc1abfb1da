import { afterEach, describe, expect, it } from 'vitest';

import { ConnectionLost, Libvirt, type ReconnectingConnection } from '../../../src/libvirt/index.ts';
import { remote } from '../../../src/libvirt/procedures.ts';
import { Encoder } from '../../../src/libvirt/xdr.ts';
import { until } from '../../lab/process.ts';
import { type FakeDaemon, startFakeDaemon } from './fake-daemon.ts';

const domain = { name: 'm1', uuid: '6695eb01-f6a4-8304-79aa-97f2502e193f', id: 1 };
const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function setUp(): Promise<{
  daemon: FakeDaemon;
  libvirt: Libvirt<ReconnectingConnection>;
  seen: string[];
}> {
  const daemon = await startFakeDaemon((packet, fake) => {
    if (packet.procedure === remote.eventCallbackRegisterAny.number)
      fake.reply(packet, new Encoder().i32(fake.connectionCount).finish());
    else if (packet.procedure === remote.domainResume.number) fake.hangUp();
    else fake.reply(packet);
  });
  const libvirt = Libvirt.openReconnecting('qemu:///system', {
    endpoint: { kind: 'unix', path: daemon.path },
    firstDelayMs: 5,
    maxDelayMs: 10,
  });
  const seen: string[] = [];
  libvirt.rpc.on('up', () => seen.push('up'));
  libvirt.rpc.on('down', () => seen.push('down'));
  open.push(daemon, libvirt);
  await libvirt.rpc.ready({ timeoutMs: 2000 });
  return { daemon, libvirt, seen };
}

describe('ReconnectingConnection', () => {
  it('rejects what was in flight, comes back, and never repeats a call', async () => {
    const { daemon, libvirt, seen } = await setUp();
    await expect(libvirt.resume(domain)).rejects.toMatchObject({ name: 'ConnectionLost', sent: true });
    await until('the second connection', async () => seen.length === 3 && seen);
    expect(seen).toEqual(['up', 'down', 'up']);
    await libvirt.suspend(domain);
    expect(daemon.calls.map(({ procedure }) => procedure)).toEqual([
      remote.domainResume.number,
      remote.domainSuspend.number,
    ]);
  });

  it('registers for events again before it says up, unless cancelled', async () => {
    const { daemon, libvirt, seen } = await setUp();
    await libvirt.rpc.subscribe('lifecycle', () => {});
    const cancelled = await libvirt.rpc.subscribe('reboot', () => {});
    await cancelled.cancel();
    let registeredAtUp = 0;
    const registrations = () =>
      daemon.calls.filter(({ procedure }) => procedure === remote.eventCallbackRegisterAny.number);
    libvirt.rpc.on('up', () => {
      registeredAtUp = registrations().length;
    });
    daemon.hangUp();
    await until('the second connection', async () => seen.length === 3);
    expect(registeredAtUp).toBe(3);
    expect(registrations().map(({ body }) => body.readInt32BE(0))).toEqual([0, 1, 0]);
  });

  it('rejects at once while down, and ready() waits no longer than told', async () => {
    const libvirt = Libvirt.openReconnecting('qemu:///system', {
      endpoint: { kind: 'unix', path: '/nonexistent/sock' },
      firstDelayMs: 1,
    });
    open.push(libvirt);
    await expect(libvirt.suspend(domain)).rejects.toThrow(ConnectionLost);
    await expect(libvirt.rpc.ready({ timeoutMs: 20 })).rejects.toThrow(/within 20 ms: .*ENOENT/);
  });

  it('stays closed after close()', async () => {
    const { daemon, libvirt } = await setUp();
    await libvirt.close();
    await expect(libvirt.suspend(domain)).rejects.toThrow(ConnectionLost);
    await expect(libvirt.rpc.ready()).rejects.toThrow(ConnectionLost);
    expect(daemon.connectionCount).toBe(1);
  });
});
