import { afterEach, beforeEach, expect, test } from 'vitest';

import { GuestLink } from '../../../src/guest/link.ts';
import { type Frame, frameOf, payloadOf } from '../../../src/guest/protocol/frame.ts';
import { helloFrame } from '../../../src/guest/protocol/hello.ts';
import { readTlv, TlvWriter } from '../../../src/guest/protocol/tlv.ts';
import { FrameType, Tag } from '../../../src/guest/protocol/types.ts';
import { until } from '../../lab/process.ts';
import { FakeGuest } from './fake-guest.ts';

let guest: FakeGuest;
let link: GuestLink;
const ups: number[] = [];
const broken: string[] = [];

beforeEach(async () => {
  guest = await FakeGuest.start();
  link = new GuestLink(guest.paths);
  ups.length = broken.length = 0;
  link.on('up', (generation) => ups.push(generation));
  link.on('broken', (reason) => broken.push(reason));
});

afterEach(async () => {
  link.close();
  await guest.stop();
});

const soon = (what: string, condition: () => boolean) =>
  until(what, async () => condition(), { timeoutMs: 3000, everyMs: 2 });

test('comes up behind garbage, a stale echo and a torn frame', async () => {
  guest.garbage = Buffer.concat([Buffer.from('CDS1junk'), helloFrame(0, 5), Buffer.alloc(500, 0x43)]);
  link.open();
  await link.ready({ timeoutMs: 3000 });
  expect(link.isUp).toBe(true);
  expect(guest.hellos).toBe(2);
});

test('says HELLO again to a guest that did not answer', async () => {
  guest.deaf = 1;
  link.open();
  await link.ready({ timeoutMs: 3000 });
  expect(guest.hellos).toBe(4);
  expect(guest.connections).toBe(2);
});

test('connects anew to a guest that does not answer on what it has', async () => {
  guest.deaf = 1000;
  const impatient = new GuestLink({ ...guest.paths, silentMs: 40 });
  impatient.open();
  await soon('a second connection', () => guest.connections === 4);
  expect(impatient.isUp).toBe(false);
  guest.deaf = 0;
  await impatient.ready({ timeoutMs: 3000 });
  impatient.close();
});

test('hears nothing once it is deaf, and holds its connections until it is closed', async () => {
  link.open();
  await link.ready({ timeoutMs: 3000 });
  const frames: Frame[] = [];
  link.on('frame', (frame) => frames.push(frame));
  link.deafen();
  guest.send(0, frameOf({ type: FrameType.Exit, session: 1n }));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(frames).toEqual([]);
  expect(guest.open).toBe(2);
  link.close();
  await soon('the connections to be closed', () => guest.open === 0);
});

test('ready() rejects when nobody answers', async () => {
  guest.deaf = 100;
  link.open();
  await expect(link.ready({ timeoutMs: 50 })).rejects.toThrow(/did not answer within 50 ms/);
});

test.each([0, 1] as const)('takes both ports down and up again when port %i breaks', async (port) => {
  link.open();
  await link.ready({ timeoutMs: 3000 });
  let downs = 0;
  link.on('down', () => {
    downs += 1;
  });
  guest.drop(port);
  await soon('the second generation', () => ups.length === 2);
  expect(downs).toBe(1);
  expect(ups[0]).not.toBe(ups[1]);
  expect(guest.connections).toBe(4);
});

test.each([
  ['a foreign generation', 0, frameOf({ type: FrameType.Pong }), 12],
  ['session data on the control port', 0, frameOf({ type: FrameType.Data, session: 1n, stream: 1 }), 0],
  ['a control frame on the bulk port', 1, frameOf({ type: FrameType.Exit, session: 1n }), 0],
  ['a frame that only the host may send', 0, frameOf({ type: FrameType.Setup }), 0],
  ['a malformed report', 0, frameOf({ type: FrameType.Pressure, payload: Buffer.from('xx') }), 0],
] as const)('is reset by %s', async (_what, port, frame, other) => {
  link.open();
  await link.ready({ timeoutMs: 3000 });
  guest.send(port, frame, other || guest.generation);
  await soon('a new generation', () => ups.length === 2);
  expect(broken).toHaveLength(1);
});

test('a frame with a lying length is never acted on', async () => {
  link.open();
  await link.ready({ timeoutMs: 3000 });
  const frames: number[] = [];
  link.on('frame', (frame) => frames.push(frame.type));
  const bytes = Buffer.alloc(68);
  bytes.write('CDS1');
  bytes[4] = FrameType.Exit;
  bytes.writeUInt32LE(0xffff_ffff, 8);
  bytes.writeUInt32LE(guest.generation, 12);
  guest.raw(0, bytes);
  await soon('a new generation', () => ups.length === 2);
  expect(frames).toEqual([]);
});

test("set-up is answered, refused with the guest's reason, or given up", async () => {
  link.open();
  await link.ready({ timeoutMs: 3000 });
  const ask = (timeoutMs: number) =>
    link.resize({ cpus: 2, memoryBytes: 5, jobMemoryBytes: 5 }, { timeoutMs });
  const answer = async (flags: number, n: number) => {
    await soon('the request', () => guest.frames.length === n);
    const payload = new TlvWriter().text(Tag.Message, 'no memory').text(Tag.Timing, 'cpu=3').finish();
    guest.send(
      0,
      frameOf({ type: FrameType.SetupDone, flags, session: guest.frames[n - 1]?.session ?? 0n, payload }),
    );
  };
  const good = ask(3000);
  await answer(0, 1);
  expect((await good).timingsMs).toEqual({ cpu: 3 });
  const bad = ask(3000);
  bad.catch(() => undefined);
  await answer(1, 2);
  await expect(bad).rejects.toThrow('no memory');
  await expect(ask(20)).rejects.toThrow(/within 20 ms/);
  const cut = ask(3000);
  guest.drop(0);
  await expect(cut).rejects.toThrow(/broke/);
});

test('pressure, log and ping', async () => {
  link.open();
  await link.ready({ timeoutMs: 3000 });
  const seen: string[] = [];
  link.on('pressure', (pressure) => seen.push(`pressure ${pressure.memAvailableBytes}`));
  link.on('log', (level, text) => seen.push(`${level} ${text}`));
  const pressure = new TlvWriter().u64(Tag.MemAvailable, 77).finish();
  guest.send(0, frameOf({ type: FrameType.Pressure, payload: pressure }));
  guest.send(0, frameOf({ type: FrameType.Log, flags: 1, payload: Buffer.from('a\x1b[2J\nb') }));
  await soon('both', () => seen.length === 2);
  expect(seen).toEqual(['pressure 77', 'warn a [2J b']);
  const ping = link.ping({ timeoutMs: 3000 });
  await soon('the ping', () => guest.frames.length === 1);
  guest.send(0, frameOf({ type: FrameType.Pong, offset: guest.frames[0]?.offset ?? 0n }));
  expect(await ping).toBeGreaterThan(0);
});

test('pause, wake and lease', async () => {
  link.open();
  await link.ready({ timeoutMs: 3000 });
  link.lease(30_000);
  const options = { timeoutMs: 3000 };
  const asked = [
    link.pause({ freeze: true, sync: true, dropCaches: true }, options),
    link.pause({ sync: true }, options),
    link.pause({}, options),
    link.wake({ clockNs: 5n, seed: Buffer.alloc(32, 1), hosts: '10.0.0.1 here' }, options),
  ];
  await soon('all of them', () => guest.frames.length === 5);
  const [lease, ...requests] = guest.frames;
  expect(lease).toMatchObject({ type: FrameType.Lease, offset: 30_000n });
  const { Pause, Wake } = FrameType;
  expect(requests.map(({ type, flags }) => [type, flags])).toEqual([
    [Pause, 7],
    [Pause, 2],
    [Pause, 0],
    [Wake, 0],
  ]);
  expect([...readTlv(payloadOf(requests[3] as Frame))].map(({ tag }) => tag)).toEqual([
    Tag.ClockNs,
    Tag.Seed,
    Tag.Hosts,
  ]);
  // Answered in any order, each by its own id.
  for (const { session } of requests.toReversed())
    guest.send(
      0,
      frameOf({ type: FrameType.SetupDone, session, flags: session === requests[1]?.session ? 1 : 0 }),
    );
  const results = await Promise.allSettled(asked);
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
});

test('an answer to what another caddisd had asked is nobody’s', async () => {
  const ids = new Set<bigint>();
  for (let i = 0; i < 2; i++) {
    const other = new GuestLink(guest.paths);
    other.open();
    await other.ready({ timeoutMs: 3000 });
    void other.pause({}, { timeoutMs: 3000 }).catch(() => undefined);
    await soon('the request', () => guest.frames.length === i + 1);
    ids.add(guest.frames[i]?.session ?? 0n);
    other.close();
  }
  expect(ids.size).toBe(2);
});
