import { beforeEach, describe, expect, test } from 'vitest';

import { type Frame, frameOf, payloadOf } from '../../../src/guest/protocol/frame.ts';
import { encodeMoved, encodeResume, parseMoved } from '../../../src/guest/protocol/move-documents.ts';
import { type Exit, encodeExit, parseExit } from '../../../src/guest/protocol/session-payloads.ts';
import { TlvWriter, u64s } from '../../../src/guest/protocol/tlv.ts';
import {
  FrameType,
  GUEST_OPENED,
  ProtocolError,
  Tag,
  WINDOW_BYTES,
} from '../../../src/guest/protocol/types.ts';
import type { MovedState } from '../../../src/guest/sessions/moved.ts';
import type { RelayDecision, RelayRequest } from '../../../src/guest/sessions/relays.ts';
import { SessionRouter } from '../../../src/guest/sessions/router.ts';
import { FakeLink, FakePeer, START } from './fake-session.ts';

const T = FrameType;
const batch = 5n;
const task = 6n;
const command = GUEST_OPENED | 1n;
const call = new TlvWriter()
  .u64(Tag.Uid, 1)
  .u64(Tag.Gid, 1)
  .u64(Tag.Parent, batch)
  .text(Tag.Arg, 'srun')
  .finish();
const SOON = { quietMs: 10, drainMs: 60, answerMs: 80 };
const settle = () => new Promise((resolve) => setImmediate(resolve));
const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const exitFields = (session: bigint, status: Exit['status'], stdoutEnd = 0n) => ({
  ...{ type: T.Exit, session },
  payload: payloadOf(encodeExit(session, { status, stdoutEnd, stderrEnd: 0n })),
});
const attached = (positions: number[]) => Buffer.concat([u64s(positions), Buffer.alloc(4)]);
const last = (frames: readonly Frame[], type: number) => frames.findLast((frame) => frame.type === type);

let link: FakeLink;
let shim: FakePeer;
let router: SessionRouter;
let decision: RelayDecision;
let asked: RelayRequest[];

function newRouter(): void {
  link = new FakeLink();
  router = new SessionRouter(link, {
    decideRelay: async (request) => {
      asked.push(request);
      return decision;
    },
  });
}

beforeEach(() => {
  shim = new FakePeer();
  asked = [];
  decision = { allow: START };
  newRouter();
});

function start(session = batch, peer = shim, origin = {}): void {
  router.open(session, session === batch ? 'batch' : '0', START, peer, origin);
  link.from({ type: T.Opened, session, offset: 9n });
}

async function relay(): Promise<void> {
  link.from({ type: T.Open, session: command, payload: call });
  await settle();
  shim.says({ type: T.Opened, session: command });
  link.fence();
  await settle();
}

/** Answers as a shim does, once it is asked. */
function answers(peer: FakePeer, session: bigint, delivered: bigint): void {
  const send = peer.send.bind(peer);
  peer.send = (frame) => {
    send(frame);
    if (frame.type !== T.Moved) return;
    const moved = encodeMoved(session, [
      { delivered, position: delivered + 5n, device: 8n, inode: 9n },
      { delivered: 0n },
    ]);
    queueMicrotask(() => {
      peer.says({ type: T.Moved, session, payload: payloadOf(moved) });
      peer.leaves();
    });
  };
}

/** Answers as a process side does that has produced `text` of which `from` bytes were acknowledged. */
function produces(peer: FakePeer, text: string, from: number, stdin = 0, ended = false): void {
  const send = peer.send.bind(peer);
  peer.send = (frame) => {
    send(frame);
    if (frame.type !== T.Attach || frame.session !== command) return;
    const payload = attached([stdin, stdin + 3, from, text.length, 0, 0]);
    const flags = ended ? 2 : 1;
    queueMicrotask(() => {
      // To an ATTACH from before.
      const { offset } = frame;
      const old = attached([0, 0, 0, 0, 0, 0]);
      peer.says({ type: T.Attached, session: command, flags: 1, offset: offset - 1n, payload: old });
      peer.says({ type: T.Data, session: command, stream: 1, offset: 0n, payload: Buffer.from('stale') });
      peer.says({ type: T.Attached, session: command, flags, offset, payload });
      if (ended) peer.says(exitFields(command, { kind: 'exited', code: 0 }, BigInt(text.length)));
      for (let at = from; at < text.length; at += 4)
        peer.says({
          type: T.Data,
          session: command,
          stream: 1,
          offset: BigInt(at),
          payload: Buffer.from(text.slice(at, at + 4)),
        });
    });
  };
}

describe('a machine that leaves', () => {
  test('takes along where its steps stand, and lets their shims go', async () => {
    start();
    answers(shim, batch, 10n);
    const gone: bigint[] = [];
    router.on('peerGone', (session) => gone.push(session));
    const { sessions, relays } = await router.move(SOON);
    expect(sessions).toEqual([
      {
        ...{ session: batch, name: 'batch', phase: 'running' },
        streams: [{ delivered: 10n, position: 15n, device: 8n, inode: 9n }, { delivered: 0n }],
      },
    ]);
    expect(relays).toEqual([]);
    expect(gone).toEqual([]);
    await expect(router.move()).rejects.toThrow(/already/);
  });

  test('lets its shims end once what they said is kept, and those that come back', async () => {
    start();
    const ends = (peer: FakePeer) => peer.got.filter(({ type, flags }) => type === T.Moved && flags === 1);
    const moving = router.move({ ...SOON, exitStatus: 99 });
    shim.says({
      type: T.Moved,
      session: batch,
      payload: payloadOf(encodeMoved(batch, [{ delivered: 3n }, { delivered: 0n }])),
    });
    await moving;
    expect(ends(shim)).toEqual([]);
    router.letGo();
    expect(ends(shim)).toMatchObject([{ session: batch, offset: 99n }]);
    const again = new FakePeer();
    router.attach(batch, again);
    expect(ends(again)).toMatchObject([{ session: batch, offset: 99n }]);
    // Of a step that this router has not seen yet: an earlier caddisd has kept what it said.
    const unknown = new FakePeer();
    router.attach(task, unknown);
    expect(ends(unknown)).toMatchObject([{ session: task, offset: 99n }]);
    expect(() => router.open(7n, 'new', START, new FakePeer())).toThrow(/elsewhere/);
  });

  test('says what the shim had acknowledged when it does not answer', async () => {
    start();
    link.from({ type: T.Data, session: batch, stream: 1, payload: Buffer.alloc(100) });
    shim.says({ type: T.Ack, session: batch, stream: 1, offset: 70n });
    const { sessions } = await router.move(SOON);
    expect(sessions[0]?.streams).toEqual([{ delivered: 70n }, { delivered: 0n }]);
  });

  test('passes nothing any more, in either direction', async () => {
    start();
    const moving = router.move(SOON);
    link.sent = [];
    link.from({ type: T.Data, session: batch, stream: 1, payload: Buffer.from('x') });
    shim.says({ type: T.Data, session: batch, stream: 0, payload: Buffer.from('x') });
    shim.says({ type: T.Signal, session: batch, offset: 15n });
    link.from({ type: T.Open, session: command, payload: call });
    router.kill(77n, 9);
    link.down();
    await moving;
    expect(link.sent).toEqual([]);
    expect(shim.types).toEqual([T.Opened, T.Moved]);
    expect(asked).toEqual([]);
  });

  test('reads from shims that were held up by a congested guest', async () => {
    start();
    link.congested = true;
    shim.says({ type: T.Data, session: batch, stream: 0, payload: Buffer.from('x') });
    expect(shim.paused).toBe(true);
    const moving = router.move(SOON);
    expect(shim.paused).toBe(false);
    await moving;
  });

  test('asks a shim again that comes back before it could answer', async () => {
    start();
    const moving = router.move(SOON);
    await later(20);
    shim.leaves();
    const second = new FakePeer();
    answers(second, batch, 42n);
    router.attach(batch, second);
    const { sessions } = await moving;
    expect(second.types).toEqual([T.Opened, T.Moved]);
    expect(sessions[0]?.streams[0].delivered).toBe(42n);
  });

  test('tells how a step ended whose shim did not hear of it', async () => {
    start();
    link.from(exitFields(batch, { kind: 'exited', code: 3 }));
    const { sessions } = await router.move(SOON);
    expect(sessions[0]).toMatchObject({ phase: 'exited', exit: { kind: 'exited', code: 3 } });
  });

  test('takes along how its main step ended, unless somebody had ended it, and tells it to the client that is started once more', async () => {
    start();
    link.from(exitFields(batch, { kind: 'exited', code: 7 }, 10n));
    shim.says({ type: T.ExitAck, session: batch });
    const state = await router.move(SOON);
    expect(state.sessions).toEqual([
      {
        ...{ session: batch, name: 'batch', phase: 'ended', exit: { kind: 'exited', code: 7 } },
        streams: [{ delivered: 10n }, { delivered: 0n }],
      },
    ]);
    newRouter();
    router.resume(state);
    const again = new FakePeer();
    router.attachResumed(batch, 'batch', again, []);
    again.says({ type: T.Attach, session: batch, payload: u64s([0, 10, 0]) });
    expect(parseExit(last(again.got, T.Exit) as Frame).status).toEqual({ kind: 'exited', code: 7 });
    expect((await router.move(SOON)).sessions).toEqual(state.sessions);

    newRouter();
    shim = new FakePeer();
    start();
    shim.says({ type: T.Signal, session: batch, offset: 15n });
    link.from(exitFields(batch, { kind: 'signalled', signal: 15 }));
    shim.says({ type: T.ExitAck, session: batch });
    expect((await router.move(SOON)).sessions).toEqual([]);
  });

  test('remembers to forget a step whose end was taken too late for the guest to hear', async () => {
    start();
    link.from(exitFields(batch, { kind: 'exited', code: 3 }));
    const moving = router.move(SOON);
    link.sent = [];
    shim.says({ type: T.ExitAck, session: batch });
    const state = await moving;
    expect(state.sessions).toMatchObject([{ session: batch, phase: 'ended' }]);
    expect([state.forget, link.sent]).toEqual([[batch], []]);
    newRouter();
    link.down();
    router.resume(state);
    link.up();
    expect(link.sent).toMatchObject([{ type: T.ExitAck, session: batch }]);
  });

  test('does not take the answer of a shim that nobody asked', () => {
    start();
    const { payload } = { payload: payloadOf(encodeMoved(batch, [{ delivered: 0n }, { delivered: 0n }])) };
    expect(() => shim.says({ type: T.Moved, session: batch, payload })).toThrow(ProtocolError);
  });
});

describe('a relayed command of a machine that leaves', () => {
  test('leaves what it has produced and its caller has not taken', async () => {
    start();
    await relay();
    shim.says({ type: T.Data, session: command, stream: 1, payload: Buffer.from('0123') });
    link.from({ type: T.Ack, session: command, stream: 1, offset: 2n });
    produces(shim, '0123456789', 2, 7);
    answers(shim, batch, 0n);
    const { relays } = await router.move(SOON);
    expect(relays).toEqual([
      {
        ...{ session: command, parent: batch, call, started: true, stdinAccepted: 7n },
        streams: [
          { acknowledged: 2n, bytes: Buffer.from('23456789') },
          { acknowledged: 0n, bytes: Buffer.alloc(0) },
        ],
      },
    ]);
    // Nothing was taken from it by that.
    expect(shim.types.filter((type) => type === T.Ack)).toEqual([T.Ack]);
    expect(shim.types.at(-1)).toBe(T.Moved);
  });

  test('is waited for while it speaks, but not for long', async () => {
    start();
    await relay();
    const speak = setInterval(
      () => shim.says({ type: T.Data, session: command, stream: 1, payload: Buffer.from('x') }),
      5,
    );
    const began = performance.now();
    const moving = router.move({ ...SOON, quietMs: 30, drainMs: 120, answerMs: 20 });
    await later(100);
    expect(shim.types).not.toContain(T.Moved);
    await moving;
    clearInterval(speak);
    expect(performance.now() - began).toBeGreaterThan(115);
  });

  test('is asked for its output only after its own steps have let go', async () => {
    const shimOfTask = new FakePeer();
    const order: string[] = [];
    start();
    await relay();
    start(task, shimOfTask, { relay: command, task: 0 });
    answers(shimOfTask, task, 4n);
    produces(shim, 'abcd', 0, 0, true);
    answers(shim, batch, 0n);
    for (const [name, peer] of Object.entries({ shim, shimOfTask })) {
      const send = peer.send.bind(peer);
      peer.send = (frame) => {
        if (frame.type === T.Moved || frame.session === command) order.push(`${name} ${frame.type}`);
        send(frame);
      };
    }
    const moving = router.move(SOON);
    await later(15);
    // It ends because its task is gone, which is no end of its own.
    shim.says(exitFields(command, { kind: 'exited', code: 0 }, 4n));
    const { sessions, relays } = await moving;
    expect(order).toEqual([`shimOfTask ${T.Moved}`, `shim ${T.Attach}`, `shim ${T.Moved}`]);
    expect(relays[0]).not.toHaveProperty('exit');
    expect(relays[0]?.streams[0].bytes.toString()).toBe('abcd');
    expect(sessions.find(({ session }) => session === task)).toMatchObject({ relay: command, task: 0 });
  });

  test('that ends meanwhile has ended', async () => {
    start();
    await relay();
    produces(shim, '', 0);
    const moving = router.move(SOON);
    shim.says(exitFields(command, { kind: 'exited', code: 4 }));
    const { relays } = await moving;
    expect(relays[0]).toMatchObject({ exit: { kind: 'exited', code: 4 } });
  });

  test('that had ended before its caller could hear of it has ended', async () => {
    start();
    await relay();
    produces(shim, 'all', 0, 0, true);
    const { relays } = await router.move(SOON);
    expect(relays[0]).toMatchObject({ exit: { kind: 'exited', code: 0 } });
    expect(relays[0]?.streams[0].bytes.toString()).toBe('all');
  });

  test('that its shim does not know, or that says nothing, is lost', async () => {
    start();
    await relay();
    expect((await router.move(SOON)).relays).toEqual([]);
  });

  test('that was being ruled has not started', async () => {
    start();
    let ruled: () => void = () => undefined;
    let ended = 0;
    const rule = new Promise<void>((resolve) => {
      ruled = resolve;
    });
    link = new FakeLink();
    router = new SessionRouter(link, {
      decideRelay: async () => {
        await rule;
        return { allow: START, ended: () => ended++ };
      },
    });
    start();
    link.from({ type: T.Open, session: command, payload: call });
    await settle();
    const moving = router.move(SOON);
    ruled();
    const { relays } = await moving;
    expect(relays).toMatchObject([{ session: command, started: false }]);
    expect(shim.types).not.toContain(T.Open);
    expect(ended).toBe(1);
  });

  test('that was refused takes its refusal along', async () => {
    decision = { refuse: 'not here', exitCode: 3 };
    start();
    link.from({ type: T.Open, session: command, payload: call });
    await settle();
    link.from({ type: T.Ack, session: command, stream: 2, offset: 4n });
    const { relays } = await router.move(SOON);
    expect(relays[0]).toMatchObject({ exit: { kind: 'exited', code: 3 } });
    expect(relays[0]?.streams[1]).toEqual({ acknowledged: 4n, bytes: Buffer.from('here\n') });
  });

  test('keeps the ends of its tasks until it is over', async () => {
    start();
    await relay();
    for (const [session, relayed] of [[task, command] as const, [7n, undefined] as const]) {
      const peer = new FakePeer();
      start(session, peer, relayed === undefined ? {} : { relay: relayed, task: 1 });
      link.from(exitFields(session, { kind: 'exited', code: 2 }));
      peer.says({ type: T.ExitAck, session });
    }
    produces(shim, '', 0);
    const { sessions } = await router.move(SOON);
    expect(sessions.filter(({ phase }) => phase === 'ended')).toMatchObject([
      { session: task, relay: command, task: 1, exit: { kind: 'exited', code: 2 } },
    ]);
  });

  test('forgets the ends of its tasks with its own', async () => {
    start();
    await relay();
    const peer = new FakePeer();
    start(task, peer, { relay: command });
    link.from(exitFields(task, { kind: 'exited', code: 2 }));
    peer.says({ type: T.ExitAck, session: task });
    link.from({ type: T.ExitAck, session: command });
    expect((await router.move(SOON)).sessions.map(({ session }) => session)).toEqual([batch]);
  });
});

const STATE: MovedState = {
  sessions: [
    { session: batch, name: 'batch', phase: 'running', streams: [{ delivered: 10n }, { delivered: 0n }] },
    { session: 7n, name: '1', phase: 'opening', streams: [{ delivered: 0n }, { delivered: 0n }] },
    {
      ...{ session: task, name: '0', relay: command, task: 1, phase: 'ended' },
      ...{ exit: { kind: 'signalled', signal: 9 }, streams: [{ delivered: 3n }, { delivered: 0n }] },
    },
  ],
  relays: [
    {
      ...{ session: command, parent: batch, call, started: true, stdinAccepted: 3n },
      streams: [
        { acknowledged: 4n, bytes: Buffer.from('kept') },
        { acknowledged: 0n, bytes: Buffer.alloc(0) },
      ],
    },
  ],
  forget: [],
};

describe('a machine that came', () => {
  const kept = [{ stream: 1, delivered: 10n, file: { path: '/k', length: 15n } }] as const;
  const positions = u64s([0, 10, 0]);

  beforeEach(() => {
    link.down();
    router.resume(STATE);
    link.up();
  });

  test('has its steps, and their shims are told where they stand', () => {
    expect(router.sessions()).toMatchObject([{ session: batch, phase: 'running', peerPid: undefined }]);
    router.attachResumed(batch, 'batch', shim, kept);
    expect(shim.got).toEqual([
      frameOf({ type: T.Opened, session: batch, flags: 2 }),
      encodeResume(batch, kept),
    ]);
    shim.says({ type: T.Attach, session: batch, payload: positions });
    expect(link.types).toEqual([T.Attach]);
    link.from({ type: T.Attached, session: batch, flags: 1, payload: attached([0, 0, 10, 12, 0, 0]) });
    link.from({ type: T.Data, session: batch, stream: 1, offset: 10n, payload: Buffer.from('xy') });
    expect(shim.types.slice(2)).toEqual([T.Attached, T.Data]);
  });

  test('says RESUME again to a shim that lost its connection before it attached, and never after', () => {
    router.attachResumed(batch, 'batch', shim, kept);
    shim.leaves();
    const second = new FakePeer();
    router.attach(batch, second);
    expect(second.types).toEqual([T.Opened, T.Resume]);
    second.says({ type: T.Attach, session: batch, payload: positions });
    second.leaves();
    const third = new FakePeer();
    router.attach(batch, third);
    expect(third.got).toEqual([frameOf({ type: T.Opened, session: batch })]);
  });

  test('knows no other steps', () => {
    expect(() => router.attachResumed(99n, 'x', shim, [])).toThrow(RangeError);
    // One that had hardly been opened is opened again, by its id.
    expect(() => router.attachResumed(7n, '1', shim, [])).toThrow(RangeError);
    router.open(7n, '1', START, shim);
    expect(link.types).toEqual([T.Open]);
  });

  test('tells the end of a step that had ended, to a shim that its command starts again', () => {
    router.attachResumed(task, '0', shim, kept);
    expect(shim.types).toEqual([T.Opened, T.Resume]);
    shim.says({ type: T.Attach, session: task, payload: positions });
    expect(shim.got.slice(2)).toMatchObject([{ type: T.Attached, flags: 2 }, { type: T.Exit }]);
    expect(parseExit(shim.got[3] as Frame)).toEqual({
      ...{ status: { kind: 'signalled', signal: 9 } },
      ...{ stdoutEnd: 10n, stderrEnd: 0n },
    });
    shim.says({ type: T.ExitAck, session: task });
    const second = new FakePeer();
    router.attach(task, second);
    expect(second.got).toEqual([frameOf({ type: T.Opened, session: task })]);
    expect(link.sent).toEqual([]);
  });

  test('calls a command again when the step that called it is there, and not before', async () => {
    router.attachResumed(batch, 'batch', shim, kept);
    await settle();
    expect(asked).toEqual([]);
    shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    expect(asked).toMatchObject([{ session: command, parent: batch, again: true, call: { args: ['srun'] } }]);
    expect(shim.got.at(-1)).toMatchObject({ type: T.Open, session: command });
    shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    expect(asked).toHaveLength(1);
  });

  test('gives a stub what was kept while its command is still away, and no 60 s', async () => {
    for (const delivered of [4, 6])
      link.from({ type: T.Attach, session: command, payload: u64s([0, delivered, 0]) });
    // Not before the guest has seen the last ATTACHED: output goes by the other port.
    link.fence(1);
    await settle();
    expect(link.types).toEqual([T.Attached, T.Attached]);
    link.fence();
    await settle();
    expect(link.types).toEqual([T.Attached, T.Attached, T.Data]);
    expect(link.sent[2]).toMatchObject({ offset: 6n, stream: 1 });
    expect(payloadOf(link.sent[2] as Frame).toString()).toBe('pt');
  });

  test('keeps to the window of a stub that does not read', async () => {
    newRouter();
    const bytes = Buffer.alloc(WINDOW_BYTES + 100_000);
    const [moved] = STATE.relays;
    const streams = [
      { acknowledged: 4n, bytes },
      { acknowledged: 0n, bytes: Buffer.alloc(0) },
    ] as const;
    router.resume({ ...STATE, relays: moved ? [{ ...moved, streams }] : [] });
    link.from({ type: T.Attach, session: command, payload: u64s([0, 4, 0]) });
    link.fence();
    await settle();
    const sent = () => link.sent.reduce((sum, { type, length }) => sum + (type === T.Data ? length : 0), 0);
    expect(sent()).toBe(WINDOW_BYTES);
    link.from({ type: T.Ack, session: command, stream: 1, offset: 100_004n });
    expect(sent()).toBe(bytes.length);
  });

  test('refuses a command behind what it had said before', async () => {
    decision = { refuse: 'not twice', exitCode: 75 };
    router.attachResumed(batch, 'batch', shim, kept);
    shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    link.sent = [];
    link.from({ type: T.Attach, session: command, payload: u64s([0, 4, 0]) });
    link.fence();
    await settle();
    link.from({ type: T.Ack, session: command, stream: 1, offset: 8n });
    link.from({ type: T.Ack, session: command, stream: 1, offset: 8n });
    expect(link.types).toEqual([T.Attached, T.Data, T.Lost]);
    link.from({ type: T.Attach, session: command, payload: u64s([0, 8, 0]) });
    expect(link.types.slice(3)).toEqual([T.Attached, T.Data, T.Exit]);
    expect(payloadOf(link.sent[4] as Frame).toString()).toBe('not twice\n');
    const exit = parseExit(last(link.sent, T.Exit) as Frame);
    expect(exit).toMatchObject({ status: { kind: 'exited', code: 75 }, stdoutEnd: 8n, stderrEnd: 10n });
  });

  test('keeps signals for a command that is still away, and does not call one whose caller died', async () => {
    link.from({ type: T.Signal, session: command, offset: 10n });
    router.attachResumed(batch, 'batch', shim, kept);
    shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    expect(shim.got.slice(-2)).toMatchObject([{ type: T.Open }, { type: T.Signal, offset: 10n }]);

    newRouter();
    router.resume(STATE);
    link.from({ type: T.Signal, session: command, offset: 9n });
    shim = new FakePeer();
    router.attachResumed(batch, 'batch', shim, kept);
    shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    expect(shim.types).not.toContain(T.Open);
  });

  test('tells the end of a command that had ended', () => {
    newRouter();
    const relays = STATE.relays.map((moved) => ({ ...moved, exit: { kind: 'exited', code: 9 } as const }));
    router.resume({ ...STATE, relays });
    link.from({ type: T.Attach, session: command, payload: u64s([0, 8, 0]) });
    const exit = parseExit(last(link.sent, T.Exit) as Frame);
    expect(exit).toEqual({ status: { kind: 'exited', code: 9 }, stdoutEnd: 8n, stderrEnd: 0n });
    link.from({ type: T.ExitAck, session: command });
    link.sent = [];
    link.from({ type: T.Ack, session: command, stream: 1, offset: 8n });
    expect(link.sent).toEqual([]);
  });

  test('says what it cannot call again', async () => {
    newRouter();
    router.resume({ ...STATE, relays: STATE.relays.map((moved) => ({ ...moved, call: Buffer.alloc(0) })) });
    link.from({ type: T.Attach, session: command, payload: u64s([0, 8, 0]) });
    expect(parseExit(last(link.sent, T.Exit) as Frame).status).toEqual({ kind: 'exited', code: 75 });
    expect(payloadOf(last(link.sent, T.Data) as Frame).toString()).toMatch(/^caddis: .*another host/);
  });

  test('can leave again at once, and nothing is lost by that', async () => {
    link.from({ type: T.Attach, session: command, payload: u64s([0, 5, 0]) });
    const { sessions, relays } = await router.move(SOON);
    expect(sessions.map(({ session }) => session)).toEqual([batch, task]);
    expect(sessions[0]?.streams[0].delivered).toBe(10n);
    expect(relays).toEqual([
      {
        ...STATE.relays[0],
        streams: [{ acknowledged: 5n, bytes: Buffer.from('ept') }, STATE.relays[0]?.streams[1]],
      },
    ]);
  });

  test('leaves again with both halves of what a command has said', async () => {
    router.attachResumed(batch, 'batch', shim, kept);
    shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    produces(shim, 'new', 0, 5);
    link.from({ type: T.Attach, session: command, payload: u64s([0, 6, 0]) });
    const { relays } = await router.move(SOON);
    expect(relays[0]).toMatchObject({ started: true, stdinAccepted: 8n });
    expect(relays[0]?.streams[0]).toEqual({ acknowledged: 6n, bytes: Buffer.from('ptnew') });
  });
});

test('a command that was called again leaves with what its caller took since', async () => {
  router.resume(STATE);
  router.attachResumed(batch, 'batch', shim, []);
  shim.says({ type: T.Attach, session: batch, payload: u64s([0, 0, 0]) });
  await settle();
  link.from({ type: T.Attach, session: command, payload: u64s([0, 8, 0]) });
  shim.says({
    type: T.Attached,
    session: command,
    flags: 1,
    offset: shim.got.at(-1)?.offset ?? 0n,
    payload: attached([0, 0, 0, 3, 0, 0]),
  });
  link.from({ type: T.Ack, session: command, stream: 1, offset: 10n });
  produces(shim, 'newer', 2, 1);
  const { relays } = await router.move(SOON);
  expect(relays[0]?.streams[0]).toEqual({ acknowledged: 10n, bytes: Buffer.from('wer') });
});

test('a command that was called again is found by a caddisd that is restarted after the move', async () => {
  router.resume(STATE);
  router.attach(batch, shim, 'batch');
  expect(shim.got).toEqual([frameOf({ type: T.Opened, session: batch })]);
  shim.says({ type: T.Attach, session: batch, payload: u64s([0, 12, 0]) });
  link.from({ type: T.Attach, session: command, payload: u64s([0, 10, 0]) });
  await settle();
  // The shim has it: its OPEN is an ATTACH, and its answer is no news to the stub.
  expect(shim.types.slice(1)).toEqual([T.Open]);
  shim.says({ type: T.Attached, session: command, flags: 1, payload: attached([0, 0, 1, 9, 0, 0]) });
  link.fence();
  await settle();
  expect(link.types).toEqual([T.Attach, T.Attached, T.Lost]);
  link.from({ type: T.Attach, session: command, payload: u64s([0, 10, 0]) });
  expect(shim.got.at(-1)).toMatchObject({ type: T.Attach, session: command });
  expect(payloadOf(shim.got.at(-1) as Frame)).toEqual(u64s([0, 2, 0]));
});

describe('signals', () => {
  const signal = (offset: bigint, flags = 0) => ({ type: T.Signal, session: batch, offset, flags });
  const numbers = () => link.sent.filter(({ type }) => type === T.Signal).map(({ offset }) => Number(offset));
  let heard: unknown[];

  beforeEach(() => {
    heard = [];
    link = new FakeLink();
    router = new SessionRouter(link, {
      decideRelay: async () => decision,
      onSignal: (session, name, number) => {
        heard.push([session, name, number]);
        return number === 15 ? 'hold' : 'pass';
      },
    });
    start();
  });

  test('pass or are held, as whoever knows the scheduler says', () => {
    shim.says(signal(10n));
    shim.says(signal(15n));
    // Behind a held one: the order is the scheduler's.
    shim.says(signal(12n));
    expect(numbers()).toEqual([10]);
    expect(heard).toEqual([10, 15, 12].map((number) => [batch, 'batch', number]));
    router.releaseSignals(true);
    expect(numbers()).toEqual([10, 15, 12]);
    shim.says(signal(12n));
    expect(numbers()).toEqual([10, 15, 12, 12]);
  });

  test('are dropped when the scheduler meant something else by them', () => {
    shim.says(signal(15n));
    router.releaseSignals(false);
    router.releaseSignals(true);
    expect(numbers()).toEqual([]);
  });

  test('are bounded', () => {
    for (let i = 0; i < 100; i++) shim.says(signal(15n));
    router.releaseSignals(true);
    expect(numbers()).toHaveLength(64);
  });

  test('of a step that has ended are nobody’s', () => {
    shim.says(signal(15n));
    link.from(exitFields(batch, { kind: 'exited', code: 0 }));
    shim.says({ type: T.ExitAck, session: batch });
    router.releaseSignals(true);
    expect(numbers()).toEqual([]);
  });
});

test('MOVED is read as it was written, and nothing else is', () => {
  const stands = [{ delivered: 2n ** 40n, position: 5n, device: 1n, inode: 2n }, { delivered: 0n }] as const;
  expect(parseMoved(encodeMoved(1n, stands))).toEqual(stands);
  expect(() => parseMoved(frameOf({ type: T.Moved, payload: Buffer.alloc(63) }))).toThrow(ProtocolError);
  expect(() => encodeResume(1n, [{ stream: 1, delivered: 0n, file: { path: 'a\0b', length: 1n } }])).toThrow(
    RangeError,
  );
});
