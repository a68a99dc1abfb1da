import { afterEach, describe, expect, it } from 'vitest';

import { encodeDomain } from '../../../src/libvirt/domain.ts';
import {
  CallTimeout,
  Connection,
  ConnectionLost,
  type ConnectionOptions,
  isNoDomain,
  Libvirt,
  openEventStream,
  ProtocolError,
  QueueFull,
} from '../../../src/libvirt/index.ts';
import { encodePacket, packetType } from '../../../src/libvirt/packets.ts';
import { program, remote } from '../../../src/libvirt/procedures.ts';
import { Encoder } from '../../../src/libvirt/xdr.ts';
import { until } from '../../lab/process.ts';
import { errorBody, type FakeDaemon, startFakeDaemon } from './fake-daemon.ts';

const domain = { name: 'm1', uuid: '6695eb01-f6a4-8304-79aa-97f2502e193f', id: 1 };
const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function setUp(
  onCall?: Parameters<typeof startFakeDaemon>[0],
  options: ConnectionOptions = {},
): Promise<{ daemon: FakeDaemon; libvirt: Libvirt<Connection> }> {
  const daemon = await startFakeDaemon(onCall);
  const libvirt = await Libvirt.open('qemu:///system', {
    endpoint: { kind: 'unix', path: daemon.path },
    ...options,
  });
  open.push(daemon, libvirt);
  return { daemon, libvirt };
}

describe('calls', () => {
  it('has at most 4 in flight and sends the next when one is answered, in order', async () => {
    const { daemon, libvirt } = await setUp();
    const done: number[] = [];
    const calls = Array.from({ length: 7 }, (_, index) =>
      libvirt.suspend(domain).then(() => done.push(index)),
    );
    await until('4 calls', async () => daemon.calls.length === 4);
    expect(libvirt.rpc.load).toEqual({ inFlight: 4, waiting: 3 });
    for (let answered = 0; answered < 7; answered += 1) {
      await until('the next call', async () => daemon.calls.length > answered);
      const call = daemon.calls[answered];
      if (call) daemon.reply(call);
      await until('its answer', async () => done.length === answered + 1);
      expect(daemon.calls.length).toBe(Math.min(7, answered + 5));
    }
    await Promise.all(calls);
    expect(done).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  it('refuses a call when too many wait', async () => {
    const { libvirt } = await setUp(undefined, { maxQueued: 2 });
    const calls = Array.from({ length: 6 }, () => libvirt.suspend(domain));
    await expect(libvirt.suspend(domain)).rejects.toThrow(QueueFull);
    libvirt.rpc.onClose(() => {});
    for (const call of calls) call.catch(() => {});
  });

  it('maps errors to codes', async () => {
    const { libvirt } = await setUp((packet, daemon) =>
      daemon.reply(packet, errorBody(42, 'Domain not found'), { status: 1 }),
    );
    const error: unknown = await libvirt.lookupByName('nope').catch((caught: unknown) => caught);
    expect(isNoDomain(error)).toBe(true);
    expect(error).toMatchObject({ code: 42, source: 10, level: 2, message: 'Domain not found' });
  });

  it('gives up at the deadline, keeps the slot until the answer comes, and ignores that answer', async () => {
    const { daemon, libvirt } = await setUp();
    const error: unknown = await libvirt
      .suspend(domain, { timeoutMs: 20 })
      .catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(CallTimeout);
    expect(error).toMatchObject({
      sent: true,
      message: 'domainSuspend: no answer from libvirt within 20 ms',
    });
    expect(libvirt.rpc.load.inFlight).toBe(1);
    if (daemon.calls[0]) daemon.reply(daemon.calls[0]);
    await until('the slot', async () => libvirt.rpc.load.inFlight === 0);
    expect(libvirt.rpc.ended).toBeUndefined();
  });

  it('never sends a call that was aborted while it waited', async () => {
    const { daemon, libvirt } = await setUp();
    const blockers = Array.from({ length: 4 }, () => libvirt.suspend(domain));
    const abort = new AbortController();
    const waiting = libvirt.resume(domain, { signal: abort.signal });
    abort.abort(new Error('changed my mind'));
    await expect(waiting).rejects.toThrow('changed my mind');
    await until('4 calls', async () => daemon.calls.length === 4);
    for (const call of daemon.calls.slice()) daemon.reply(call);
    await Promise.all(blockers);
    expect(daemon.calls.map((call) => call.procedure)).not.toContain(remote.domainResume.number);
  });

  it('gives the connection up when every slot is held by calls that nobody awaits and another starves', async () => {
    const { libvirt } = await setUp();
    const blockers = Array.from({ length: 4 }, () => libvirt.suspend(domain, { timeoutMs: 10 }));
    expect((await Promise.allSettled(blockers)).map(({ status }) => status)).toEqual(
      Array(4).fill('rejected'),
    );
    expect(libvirt.rpc.ended).toBeUndefined();
    await expect(libvirt.suspend(domain, { timeoutMs: 10 })).rejects.toMatchObject({ sent: false });
    expect(libvirt.rpc.ended?.message).toMatch(/answers none of 4 calls/);
  });

  it('says at a loss which calls had left', async () => {
    const { daemon, libvirt } = await setUp((_packet, fake) => {
      if (fake.calls.length === 4) fake.hangUp();
    });
    const calls = Array.from({ length: 5 }, () => libvirt.suspend(domain).catch((error: unknown) => error));
    const errors = await Promise.all(calls);
    for (const error of errors) expect(error).toBeInstanceOf(ConnectionLost);
    expect(errors.map((error) => (error as ConnectionLost).sent)).toEqual([true, true, true, true, false]);
    await expect(libvirt.suspend(domain)).rejects.toMatchObject({ name: 'ConnectionLost', sent: false });
    expect(daemon.calls.length).toBe(4);
  });
});

describe('a peer that is no libvirtd', () => {
  it.each([
    ['another serial', { serial: 999 }, /got one to serial 999/],
    [
      'another procedure',
      { procedure: 1 },
      /expected a reply to domainLookupByName \(23\), got one of procedure 1/,
    ],
    ['another status', { status: 2 }, /expected status ok or error .* got 2/],
    ['another type', { type: 3 }, /got packet type 3/],
    ['a body cut short', {}, /more bytes at offset/],
  ])('is dropped after %s', async (_what, change, message) => {
    const { libvirt } = await setUp((packet, daemon) => daemon.reply(packet, Buffer.alloc(2), change));
    await expect(libvirt.lookupByName('m1')).rejects.toThrow(ConnectionLost);
    expect(libvirt.rpc.ended).toBeInstanceOf(ProtocolError);
    expect(libvirt.rpc.ended?.message).toMatch(message);
  });

  it('is dropped when it speaks something else', async () => {
    const { libvirt } = await setUp((_packet, daemon) =>
      daemon.send(Buffer.from('HTTP/1.1 400 Bad Request\r\n')),
    );
    await expect(libvirt.lookupByName('m1')).rejects.toThrow(/is this a libvirt socket/);
  });

  it('that is not there gives ConnectionLost with the cause', async () => {
    const opening = Connection.open('qemu:///system', {
      endpoint: { kind: 'unix', path: '/nonexistent/sock' },
    });
    await expect(opening).rejects.toMatchObject({
      name: 'ConnectionLost',
      sent: false,
      cause: { code: 'ENOENT' },
    });
  });
});

describe('keepalive', () => {
  it('answers pings', async () => {
    const { daemon } = await setUp(undefined, { keepalive: false });
    const ping = { program: program.keepalive, procedure: 1, type: packetType.event, serial: 0, status: 0 };
    daemon.send(encodePacket({ ...ping, body: Buffer.alloc(0) }));
    await until('the pong', async () => daemon.keepalives.length === 1);
    expect(daemon.keepalives[0]).toMatchObject({ procedure: 2, type: packetType.event });
  });

  it('ends a silent connection, and its calls', async () => {
    const { daemon, libvirt } = await setUp(undefined, { keepalive: { intervalMs: 15, count: 2 } });
    await expect(libvirt.suspend(domain)).rejects.toThrow(/silent for 45 ms/);
    expect(daemon.keepalives.map(({ procedure }) => procedure)).toEqual([1, 1]);
  });
});

describe('events', () => {
  const lifecycle = (callbackId: number, event: number): Buffer =>
    encodePacket({
      program: program.remote,
      procedure: 318,
      type: packetType.event,
      serial: 0,
      status: 0,
      body: encodeDomain(new Encoder().i32(callbackId), domain).i32(event).i32(0).finish(),
    });

  it('that overtake the reply to their registration are delivered, in order', async () => {
    const { daemon, libvirt } = await setUp((packet, fake) => {
      fake.send(lifecycle(7, 2));
      fake.send(lifecycle(8, 3));
      fake.reply(packet, new Encoder().i32(7).finish());
      fake.send(lifecycle(7, 5));
    });
    const got: string[] = [];
    await libvirt.rpc.subscribe('lifecycle', ({ event }) => got.push(event), { domain });
    await until('two events', async () => got.length >= 2);
    expect(got).toEqual(['started', 'stopped']);
    expect(daemon.calls[0]?.body).toEqual(encodeDomain(new Encoder().i32(0).bool(true), domain).finish());
  });

  it('overflow a consumer that is too slow instead of growing', async () => {
    const { libvirt } = await setUp((packet, fake) => {
      fake.reply(packet, new Encoder().i32(7).finish());
      for (let count = 0; count < 4; count += 1) fake.send(lifecycle(7, 2));
    });
    const stream = await openEventStream(libvirt.rpc, ['lifecycle'], { maxHeld: 3 });
    // The next answer comes after the events on the same socket.
    await libvirt.suspend(domain);
    const got: unknown[] = [];
    const consume = async () => {
      for await (const event of stream) got.push(event);
    };
    await expect(consume()).rejects.toMatchObject({ name: 'EventsOverflowed' });
    expect(got.length).toBe(3);
  });
});
