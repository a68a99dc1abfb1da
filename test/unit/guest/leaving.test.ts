import { describe, expect, test } from 'vitest';

import { type Frame, payloadOf } from '../../../src/guest/protocol/frame.ts';
import { encodeMoved } from '../../../src/guest/protocol/move-documents.ts';
import { parseExit } from '../../../src/guest/protocol/session-payloads.ts';
import { u64s } from '../../../src/guest/protocol/tlv.ts';
import { ProtocolError } from '../../../src/guest/protocol/types.ts';
import { SessionRouter } from '../../../src/guest/sessions/router.ts';
import { FakeLink, FakePeer, START } from './fake-session.ts';
import {
  answers,
  batch,
  call,
  command,
  exitFields,
  last,
  later,
  newRouter,
  produces,
  relay,
  rig,
  SOON,
  settle,
  start,
  T,
  task,
  useRig,
} from './moving-rig.ts';

useRig();

describe('a machine that leaves', () => {
  test('takes along where its steps stand, and lets their shims go', async () => {
    start();
    answers(rig.shim, batch, 10n);
    const gone: bigint[] = [];
    rig.router.on('peerGone', (session) => gone.push(session));
    const { sessions, relays } = await rig.router.move(SOON);
    expect(sessions).toEqual([
      {
        ...{ session: batch, name: 'batch', phase: 'running' },
        streams: [{ delivered: 10n, position: 15n, device: 8n, inode: 9n }, { delivered: 0n }],
      },
    ]);
    expect(relays).toEqual([]);
    expect(gone).toEqual([]);
    await expect(rig.router.move()).rejects.toThrow(/already/);
  });

  test('lets its shims end once what they said is kept, and those that come back', async () => {
    start();
    const ends = (peer: FakePeer) => peer.got.filter(({ type, flags }) => type === T.Moved && flags === 1);
    const moving = rig.router.move({ ...SOON, exitStatus: 99 });
    rig.shim.says({
      type: T.Moved,
      session: batch,
      payload: payloadOf(encodeMoved(batch, [{ delivered: 3n }, { delivered: 0n }])),
    });
    await moving;
    expect(ends(rig.shim)).toEqual([]);
    rig.router.letGo();
    expect(ends(rig.shim)).toMatchObject([{ session: batch, offset: 99n }]);
    const again = new FakePeer();
    rig.router.attach(batch, again);
    expect(ends(again)).toMatchObject([{ session: batch, offset: 99n }]);
    // Of a step that this router has not seen yet: an earlier caddisd has kept what it said.
    const unknown = new FakePeer();
    rig.router.attach(task, unknown);
    expect(ends(unknown)).toMatchObject([{ session: task, offset: 99n }]);
    expect(() => rig.router.open(7n, 'new', START, new FakePeer())).toThrow(/elsewhere/);
  });

  test('says what the shim had acknowledged when it does not answer', async () => {
    start();
    rig.link.from({ type: T.Data, session: batch, stream: 1, payload: Buffer.alloc(100) });
    rig.shim.says({ type: T.Ack, session: batch, stream: 1, offset: 70n });
    const { sessions } = await rig.router.move(SOON);
    expect(sessions[0]?.streams).toEqual([{ delivered: 70n }, { delivered: 0n }]);
  });

  test('passes nothing any more, in either direction', async () => {
    start();
    const moving = rig.router.move(SOON);
    rig.link.sent = [];
    rig.link.from({ type: T.Data, session: batch, stream: 1, payload: Buffer.from('x') });
    rig.shim.says({ type: T.Data, session: batch, stream: 0, payload: Buffer.from('x') });
    rig.shim.says({ type: T.Signal, session: batch, offset: 15n });
    rig.link.from({ type: T.Open, session: command, payload: call });
    rig.router.kill(77n, 9);
    rig.link.down();
    await moving;
    expect(rig.link.sent).toEqual([]);
    expect(rig.shim.types).toEqual([T.Opened, T.Moved]);
    expect(rig.asked).toEqual([]);
  });

  test('reads from shims that were held up by a congested guest', async () => {
    start();
    rig.link.congested = true;
    rig.shim.says({ type: T.Data, session: batch, stream: 0, payload: Buffer.from('x') });
    expect(rig.shim.paused).toBe(true);
    const moving = rig.router.move(SOON);
    expect(rig.shim.paused).toBe(false);
    await moving;
  });

  test('asks a shim again that comes back before it could answer', async () => {
    start();
    const moving = rig.router.move(SOON);
    await later(20);
    rig.shim.leaves();
    const second = new FakePeer();
    answers(second, batch, 42n);
    rig.router.attach(batch, second);
    const { sessions } = await moving;
    expect(second.types).toEqual([T.Opened, T.Moved]);
    expect(sessions[0]?.streams[0].delivered).toBe(42n);
  });

  test('tells how a step ended whose shim did not hear of it', async () => {
    start();
    rig.link.from(exitFields(batch, { kind: 'exited', code: 3 }));
    const { sessions } = await rig.router.move(SOON);
    expect(sessions[0]).toMatchObject({ phase: 'exited', exit: { kind: 'exited', code: 3 } });
  });

  test('takes along how its main step ended, unless somebody had ended it, and tells it to the client that is started once more', async () => {
    start();
    rig.link.from(exitFields(batch, { kind: 'exited', code: 7 }, 10n));
    rig.shim.says({ type: T.ExitAck, session: batch });
    const state = await rig.router.move(SOON);
    expect(state.sessions).toEqual([
      {
        ...{ session: batch, name: 'batch', phase: 'ended', exit: { kind: 'exited', code: 7 } },
        streams: [{ delivered: 10n }, { delivered: 0n }],
      },
    ]);
    newRouter();
    rig.router.resume(state);
    const again = new FakePeer();
    rig.router.attachResumed(batch, 'batch', again, []);
    again.says({ type: T.Attach, session: batch, payload: u64s([0, 10, 0]) });
    expect(parseExit(last(again.got, T.Exit) as Frame).status).toEqual({ kind: 'exited', code: 7 });
    expect((await rig.router.move(SOON)).sessions).toEqual(state.sessions);

    newRouter();
    rig.shim = new FakePeer();
    start();
    rig.shim.says({ type: T.Signal, session: batch, offset: 15n });
    rig.link.from(exitFields(batch, { kind: 'signalled', signal: 15 }));
    rig.shim.says({ type: T.ExitAck, session: batch });
    expect((await rig.router.move(SOON)).sessions).toEqual([]);
  });

  test('remembers to forget a step whose end was taken too late for the guest to hear', async () => {
    start();
    rig.link.from(exitFields(batch, { kind: 'exited', code: 3 }));
    const moving = rig.router.move(SOON);
    rig.link.sent = [];
    rig.shim.says({ type: T.ExitAck, session: batch });
    const state = await moving;
    expect(state.sessions).toMatchObject([{ session: batch, phase: 'ended' }]);
    expect([state.forget, rig.link.sent]).toEqual([[batch], []]);
    newRouter();
    rig.link.down();
    rig.router.resume(state);
    rig.link.up();
    expect(rig.link.sent).toMatchObject([{ type: T.ExitAck, session: batch }]);
  });

  test('does not take the answer of a shim that nobody asked', () => {
    start();
    const { payload } = { payload: payloadOf(encodeMoved(batch, [{ delivered: 0n }, { delivered: 0n }])) };
    expect(() => rig.shim.says({ type: T.Moved, session: batch, payload })).toThrow(ProtocolError);
  });
});

describe('a relayed command of a machine that leaves', () => {
  test('leaves what it has produced and its caller has not taken', async () => {
    start();
    await relay();
    rig.shim.says({ type: T.Data, session: command, stream: 1, payload: Buffer.from('0123') });
    rig.link.from({ type: T.Ack, session: command, stream: 1, offset: 2n });
    produces(rig.shim, '0123456789', 2, 7);
    answers(rig.shim, batch, 0n);
    const { relays } = await rig.router.move(SOON);
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
    expect(rig.shim.types.filter((type) => type === T.Ack)).toEqual([T.Ack]);
    expect(rig.shim.types.at(-1)).toBe(T.Moved);
  });

  test('is waited for while it speaks, but not for long', async () => {
    start();
    await relay();
    const speak = setInterval(
      () => rig.shim.says({ type: T.Data, session: command, stream: 1, payload: Buffer.from('x') }),
      5,
    );
    const began = performance.now();
    const moving = rig.router.move({ ...SOON, quietMs: 30, drainMs: 120, answerMs: 20 });
    await later(100);
    expect(rig.shim.types).not.toContain(T.Moved);
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
    produces(rig.shim, 'abcd', 0, 0, true);
    answers(rig.shim, batch, 0n);
    for (const [name, peer] of Object.entries({ shim: rig.shim, shimOfTask })) {
      const send = peer.send.bind(peer);
      peer.send = (frame) => {
        if (frame.type === T.Moved || frame.session === command) order.push(`${name} ${frame.type}`);
        send(frame);
      };
    }
    const moving = rig.router.move(SOON);
    await later(15);
    // It ends because its task is gone, which is no end of its own.
    rig.shim.says(exitFields(command, { kind: 'exited', code: 0 }, 4n));
    const { sessions, relays } = await moving;
    expect(order).toEqual([`shimOfTask ${T.Moved}`, `shim ${T.Attach}`, `shim ${T.Moved}`]);
    expect(relays[0]).not.toHaveProperty('exit');
    expect(relays[0]?.streams[0].bytes.toString()).toBe('abcd');
    expect(sessions.find(({ session }) => session === task)).toMatchObject({ relay: command, task: 0 });
  });

  test('that ends meanwhile has ended', async () => {
    start();
    await relay();
    produces(rig.shim, '', 0);
    const moving = rig.router.move(SOON);
    rig.shim.says(exitFields(command, { kind: 'exited', code: 4 }));
    const { relays } = await moving;
    expect(relays[0]).toMatchObject({ exit: { kind: 'exited', code: 4 } });
  });

  test('that had ended before its caller could hear of it has ended', async () => {
    start();
    await relay();
    produces(rig.shim, 'all', 0, 0, true);
    const { relays } = await rig.router.move(SOON);
    expect(relays[0]).toMatchObject({ exit: { kind: 'exited', code: 0 } });
    expect(relays[0]?.streams[0].bytes.toString()).toBe('all');
  });

  test('that its shim does not know, or that says nothing, is lost', async () => {
    start();
    await relay();
    expect((await rig.router.move(SOON)).relays).toEqual([]);
  });

  test('that was being ruled has not started', async () => {
    start();
    let ruled: () => void = () => undefined;
    let ended = 0;
    const rule = new Promise<void>((resolve) => {
      ruled = resolve;
    });
    rig.link = new FakeLink();
    rig.router = new SessionRouter(rig.link, {
      decideRelay: async () => {
        await rule;
        return { allow: START, ended: () => ended++ };
      },
    });
    start();
    rig.link.from({ type: T.Open, session: command, payload: call });
    await settle();
    const moving = rig.router.move(SOON);
    ruled();
    const { relays } = await moving;
    expect(relays).toMatchObject([{ session: command, started: false }]);
    expect(rig.shim.types).not.toContain(T.Open);
    expect(ended).toBe(1);
  });

  test('that was refused takes its refusal along', async () => {
    rig.decision = { refuse: 'not here', exitCode: 3 };
    start();
    rig.link.from({ type: T.Open, session: command, payload: call });
    await settle();
    rig.link.from({ type: T.Ack, session: command, stream: 2, offset: 4n });
    const { relays } = await rig.router.move(SOON);
    expect(relays[0]).toMatchObject({ exit: { kind: 'exited', code: 3 } });
    expect(relays[0]?.streams[1]).toEqual({ acknowledged: 4n, bytes: Buffer.from('here\n') });
  });

  test('keeps the ends of its tasks until it is over', async () => {
    start();
    await relay();
    for (const [session, relayed] of [[task, command] as const, [7n, undefined] as const]) {
      const peer = new FakePeer();
      start(session, peer, relayed === undefined ? {} : { relay: relayed, task: 1 });
      rig.link.from(exitFields(session, { kind: 'exited', code: 2 }));
      peer.says({ type: T.ExitAck, session });
    }
    produces(rig.shim, '', 0);
    const { sessions } = await rig.router.move(SOON);
    expect(sessions.filter(({ phase }) => phase === 'ended')).toMatchObject([
      { session: task, relay: command, task: 1, exit: { kind: 'exited', code: 2 } },
    ]);
  });

  test('forgets the ends of its tasks with its own', async () => {
    start();
    await relay();
    const peer = new FakePeer();
    start(task, peer, { relay: command });
    rig.link.from(exitFields(task, { kind: 'exited', code: 2 }));
    peer.says({ type: T.ExitAck, session: task });
    rig.link.from({ type: T.ExitAck, session: command });
    expect((await rig.router.move(SOON)).sessions.map(({ session }) => session)).toEqual([batch]);
  });
});
