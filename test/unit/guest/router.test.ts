import { beforeEach, describe, expect, test, vi } from 'vitest';

import { type Frame, payloadOf } from '../../../src/guest/protocol/frame.ts';
import { encodeExit } from '../../../src/guest/protocol/session-payloads.ts';
import { TlvWriter, u64s } from '../../../src/guest/protocol/tlv.ts';
import {
  FrameType,
  GUEST_OPENED,
  ProtocolError,
  Tag,
  WINDOW_BYTES,
} from '../../../src/guest/protocol/types.ts';
import type { RelayDecision } from '../../../src/guest/sessions/relays.ts';
import { SessionRouter } from '../../../src/guest/sessions/router.ts';
import { FakeLink, FakePeer, START } from './fake-session.ts';

const T = FrameType;
const session = 5n;
const exited = (code: number) =>
  payloadOf(encodeExit(session, { status: { kind: 'exited', code }, stdoutEnd: 0n, stderrEnd: 0n }));
const attachedPayload = Buffer.concat([u64s([0, 0, 0, 0, 0, 0]), Buffer.alloc(4)]);

let link: FakeLink;
let peer: FakePeer;
let router: SessionRouter;
let decision: RelayDecision;
let violations: string[];

beforeEach(() => {
  link = new FakeLink();
  peer = new FakePeer();
  violations = [];
  decision = { refuse: 'not allowed here', exitCode: 3 };
  router = new SessionRouter(link, { decideRelay: async () => decision });
  router.on('violation', (text) => violations.push(text));
});

function opened(): void {
  router.open(session, 'batch', START, peer);
  link.from({ type: T.Opened, session, offset: 9n });
}

describe('a step', () => {
  test('is opened, carried, ended and forgotten', () => {
    const events: unknown[] = [];
    router.on('opened', (...args) => events.push(args));
    router.on('exited', (...args) => events.push(args));
    router.on('acknowledged', (...args) => events.push(args));
    opened();
    link.from({ type: T.Data, session, stream: 1, payload: Buffer.from('hi') });
    peer.says({ type: T.Ack, session, stream: 1, offset: 2n });
    link.from({ type: T.Exit, session, payload: exited(3) });
    peer.says({ type: T.ExitAck, session });
    peer.leaves();
    expect(link.types).toEqual([T.Open, T.Ack, T.ExitAck]);
    expect(peer.types).toEqual([T.Opened, T.Data, T.Exit]);
    expect(events).toEqual([[session, 9], [session, { kind: 'exited', code: 3 }], [session]]);
    expect(router.sessions()).toEqual([]);
  });

  test('gets its first output after OPENED, whichever port was faster', () => {
    router.open(session, 'batch', START, peer);
    link.from({ type: T.Data, session, stream: 1, payload: Buffer.from('hi') });
    link.from({ type: T.Eof, session, stream: 1, offset: 2n });
    expect(peer.types).toEqual([]);
    link.from({ type: T.Opened, session, offset: 9n });
    expect(peer.types).toEqual([T.Opened, T.Data, T.Eof]);
  });

  test('is opened again when the link broke before its OPENED, and started once', () => {
    router.open(session, 'batch', START, peer);
    link.down();
    expect(peer.types).toEqual([]);
    link.up();
    expect(link.types).toEqual([T.Open]);
    link.from({ type: T.Attached, session, flags: 1, payload: attachedPayload });
    expect(peer.types).toEqual([T.Opened]);
  });

  test('waits with LOST while the link is down; ATTACH and signals follow when it is up', () => {
    opened();
    link.down();
    expect(peer.types).toEqual([T.Opened, T.Lost]);
    peer.says({ type: T.Signal, session, offset: 15n });
    peer.says({ type: T.Attach, session, payload: u64s([0, 10, 0]) });
    link.up();
    expect(link.types).toEqual([T.Attach, T.Signal]);
    link.from({ type: T.Data, session, stream: 1, offset: 10n, payload: Buffer.from('x') });
    link.from({ type: T.Attached, session, flags: 1, payload: attachedPayload });
    expect(peer.types.slice(-2)).toEqual([T.Attached, T.Data]);
  });

  test('sends nothing to a shim that has not attached since', () => {
    opened();
    link.down();
    link.up();
    link.from({ type: T.Data, session, stream: 1, payload: Buffer.from('x') });
    expect(peer.types).toEqual([T.Opened, T.Lost]);
  });

  test('is detached when its shim goes, and goes on when one comes back', () => {
    const gone: unknown[] = [];
    router.on('peerGone', (...args) => gone.push(args));
    opened();
    peer.leaves();
    expect(gone).toEqual([[session, 42]]);
    const second = new FakePeer();
    router.attach(session, second);
    second.says({ type: T.Attach, session, payload: u64s([0, 0, 0]) });
    expect(link.types).toEqual([T.Open, T.Detach, T.Attach]);
    expect(second.types).toEqual([T.Opened]);
  });

  test('is taken over from a connection that hangs', () => {
    opened();
    const second = new FakePeer();
    router.attach(session, second);
    expect(peer.closedBy).toMatch(/took over/);
    peer.leaves();
    expect(router.sessions()[0]?.peerPid).toBe(42);
  });

  test('that this router has never seen is connected through', () => {
    router.attach(session, peer, 'batch');
    peer.says({ type: T.Attach, session, payload: u64s([0, 500, 0]) });
    link.from({ type: T.Attached, session, flags: 1, payload: attachedPayload });
    link.from({ type: T.Data, session, stream: 1, offset: 500n, payload: Buffer.from('x') });
    expect(peer.types).toEqual([T.Opened, T.Attached, T.Data]);
  });

  test('whose end was taken while the link is down is acknowledged later', () => {
    opened();
    link.from({ type: T.Exit, session, payload: exited(0) });
    link.down();
    peer.says({ type: T.ExitAck, session });
    link.up();
    expect(link.types).toEqual([T.ExitAck]);
  });

  test('ends with the machine', () => {
    opened();
    router.close('qemu is gone');
    expect(peer.got.at(-1)).toMatchObject({ type: T.Lost, flags: 1 });
  });
});

describe('a guest that', () => {
  test('sends beyond the window resets the link', () => {
    opened();
    const payload = Buffer.alloc(65_536);
    for (let i = 0; i < 4; i++)
      link.from({ type: T.Data, session, stream: 2, offset: BigInt(i * 65_536), payload });
    expect(violations).toEqual([]);
    link.from({
      type: T.Data,
      session,
      stream: 2,
      offset: BigInt(WINDOW_BYTES),
      payload: payload.subarray(0, 1),
    });
    expect(violations[0]).toMatch(/beyond its window/);
    expect(link.resets).toHaveLength(1);
    expect(peer.types.filter((type) => type === T.Data)).toHaveLength(4);
  });

  test('repeats bytes does not reach the shim twice', () => {
    opened();
    for (let i = 0; i < 3; i++) link.from({ type: T.Data, session, stream: 1, payload: Buffer.from('x') });
    expect(peer.types.filter((type) => type === T.Data)).toHaveLength(1);
  });

  test.each([
    ['signals', { type: T.Signal, session, offset: 9n }],
    ['writes to stdin', { type: T.Data, session, stream: 0 }],
    ['opens without bit 63', { type: T.Open, session: 77n }],
    ['ends oddly', { type: T.Exit, session, payload: Buffer.alloc(3) }],
    ['says LOST', { type: T.Lost, session }],
    ['says MOVED', { type: T.Moved, session }],
    ['says MOVED for a command', { type: T.Moved, session: GUEST_OPENED | 1n }],
    ['says RESUME', { type: T.Resume, session }],
    ['relays rubbish', { type: T.Open, session: GUEST_OPENED | 1n, payload: Buffer.from('x') }],
  ] as const)('%s resets the link', (_what, fields) => {
    opened();
    link.from(fields);
    expect(violations).toHaveLength(1);
    expect(link.resets).toHaveLength(1);
  });
});

test('a shim may speak for its own session only', () => {
  opened();
  expect(() => peer.says({ type: T.Signal, session: 6n, offset: 9n })).toThrow(ProtocolError);
  expect(() => peer.says({ type: T.Exit, session })).toThrow(ProtocolError);
  expect(() => peer.says({ type: T.Resume, session })).toThrow(ProtocolError);
});

test('a shim is not read while the guest is congested', () => {
  opened();
  link.congested = true;
  peer.says({ type: T.Data, session, stream: 0, payload: Buffer.from('x') });
  expect(peer.paused).toBe(true);
  link.emit('drain');
  expect(peer.paused).toBe(false);
});

describe('a relayed command', () => {
  const id = GUEST_OPENED | 1n;
  const call = new TlvWriter().u64(Tag.Uid, 1).u64(Tag.Gid, 1).u64(Tag.Parent, session).text(Tag.Arg, 'srun');
  const open = () => link.from({ type: T.Open, session: id, payload: call.finish() });
  const mark = ({ got }: FakePeer) => got.at(-1)?.offset ?? 0n;
  const settle = () => new Promise((resolve) => setImmediate(resolve));

  test('that is refused prints why and ends with its status', async () => {
    opened();
    open();
    await settle();
    const [, text, exit] = link.sent.slice(1) as [Frame, Frame, Frame];
    expect(payloadOf(text).toString()).toBe('not allowed here\n');
    expect(payloadOf(exit).readUInt32LE(4)).toBe(3);
    expect(peer.types).toEqual([T.Opened]);
  });

  test('runs beside its parent, is detached with the link and attached again', async () => {
    decision = { allow: START };
    opened();
    open();
    await settle();
    expect(peer.got.at(-1)).toMatchObject({ type: T.Open, session: id });
    peer.says({ type: T.Opened, session: id });
    peer.says({ type: T.Data, session: id, stream: 1, payload: Buffer.from('x') });
    // DATA goes by the other port: not before the guest has seen OPENED.
    expect(link.types.slice(1)).toEqual([T.Opened]);
    link.fence();
    await settle();
    expect(link.types.slice(1)).toEqual([T.Opened, T.Data]);
    link.down();
    expect(peer.types.slice(-2)).toEqual([T.Lost, T.Detach]);
    link.up();
    peer.says({ type: T.Data, session: id, stream: 1, offset: 1n, payload: Buffer.from('x') });
    expect(link.types).toEqual([]);
    link.from({ type: T.Attach, session: id, payload: u64s([0, 1, 0]) });
    expect(peer.types.at(-1)).toBe(T.Attach);
    // Said before it had seen that ATTACH: it says all of it again.
    peer.says({ type: T.Attached, session: id, flags: 1, payload: attachedPayload });
    peer.says({ type: T.Data, session: id, stream: 1, offset: 1n, payload: Buffer.from('x') });
    expect(link.types).toEqual([]);
    peer.says({ type: T.Attached, session: id, flags: 1, offset: mark(peer), payload: attachedPayload });
    expect(link.types).toEqual([T.Attached]);
  });

  test('waits for its parent after a restart of caddisd, and takes no other shim', async () => {
    decision = { allow: START };
    const stranger = new FakePeer();
    router.attach(6n, stranger);
    open();
    await settle();
    expect(stranger.types).toEqual([T.Opened]);
    router.attach(session, peer);
    await vi.waitFor(() => expect(peer.types).toEqual([T.Opened, T.Open]));
    expect(stranger.types).toEqual([T.Opened]);
  });

  test('is not started when its caller dies before the ruling', async () => {
    const ended = vi.fn();
    decision = { allow: START, ended };
    opened();
    open();
    link.from({ type: T.Signal, session: id, offset: 9n });
    await settle();
    expect(peer.types).toEqual([T.Opened]);
    expect(ended).toHaveBeenCalledOnce();
  });

  test('tells once when it is over', async () => {
    const ended = vi.fn();
    decision = { allow: START, ended };
    opened();
    open();
    await settle();
    expect(ended).not.toHaveBeenCalled();
    link.from({ type: T.ExitAck, session: id });
    link.from({ type: T.ExitAck, session: id });
    expect(ended).toHaveBeenCalledOnce();
  });

  test('finds its shim again after a restart of caddisd', () => {
    link.from({ type: T.Attach, session: id, payload: u64s([0, 1, 0]) });
    const stranger = new FakePeer();
    router.attach(6n, stranger);
    router.attach(session, peer);
    expect(peer.types).toEqual([T.Opened, T.Attach]);
    stranger.says({ type: T.Attached, session: id, flags: 0, offset: mark(peer), payload: attachedPayload });
    expect(link.types).toEqual([]);
    const payload = Buffer.concat([u64s([30, 40, 0, 0, 0, 0]), Buffer.alloc(4)]);
    peer.says({ type: T.Attached, session: id, flags: 1, offset: mark(peer), payload });
    expect(link.types).toEqual([T.Attached]);
    // stdin goes on where the command says.
    link.from({ type: T.Data, session: id, stream: 0, offset: 40n, payload: Buffer.from('x') });
    expect(peer.types.at(-1)).toBe(T.Data);
  });

  test('is found again when its shim comes back to this caddisd', async () => {
    decision = { allow: START };
    opened();
    open();
    await settle();
    peer.says({ type: T.Opened, session: id });
    peer.leaves();
    expect(
      link.sent.some(({ type, session, flags }) => type === T.Lost && session === id && flags === 0),
    ).toBe(true);
    link.from({ type: T.Attach, session: id, payload: u64s([0, 1, 0]) });
    const second = new FakePeer();
    router.attach(session, second);
    expect(second.types).toEqual([T.Opened, T.Attach]);
    second.says({ type: T.Attached, session: id, flags: 1, offset: mark(second), payload: attachedPayload });
    expect(link.types.at(-1)).toBe(T.Attached);
  });
});
