import { beforeEach, describe, expect, test } from 'vitest';

import { type Frame, frameOf, payloadOf } from '../../../src/guest/protocol/frame.ts';
import { encodeMoved, encodeResume, parseMoved } from '../../../src/guest/protocol/move-documents.ts';
import { parseExit } from '../../../src/guest/protocol/session-payloads.ts';
import { u64s } from '../../../src/guest/protocol/tlv.ts';
import { ProtocolError, WINDOW_BYTES } from '../../../src/guest/protocol/types.ts';
import type { MovedState } from '../../../src/guest/sessions/moved.ts';
import { FakePeer, START } from './fake-session.ts';
import {
  attached,
  batch,
  call,
  command,
  last,
  newRouter,
  produces,
  rig,
  SOON,
  settle,
  T,
  task,
  useRig,
} from './moving-rig.ts';

useRig();

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
    rig.link.down();
    rig.router.resume(STATE);
    rig.link.up();
  });

  test('has its steps, and their shims are told where they stand', () => {
    expect(rig.router.sessions()).toMatchObject([{ session: batch, phase: 'running', peerPid: undefined }]);
    rig.router.attachResumed(batch, 'batch', rig.shim, kept);
    expect(rig.shim.got).toEqual([
      frameOf({ type: T.Opened, session: batch, flags: 2 }),
      encodeResume(batch, kept),
    ]);
    rig.shim.says({ type: T.Attach, session: batch, payload: positions });
    expect(rig.link.types).toEqual([T.Attach]);
    rig.link.from({ type: T.Attached, session: batch, flags: 1, payload: attached([0, 0, 10, 12, 0, 0]) });
    rig.link.from({ type: T.Data, session: batch, stream: 1, offset: 10n, payload: Buffer.from('xy') });
    expect(rig.shim.types.slice(2)).toEqual([T.Attached, T.Data]);
  });

  test('says RESUME again to a shim that lost its connection before it attached, and never after', () => {
    rig.router.attachResumed(batch, 'batch', rig.shim, kept);
    rig.shim.leaves();
    const second = new FakePeer();
    rig.router.attach(batch, second);
    expect(second.types).toEqual([T.Opened, T.Resume]);
    second.says({ type: T.Attach, session: batch, payload: positions });
    second.leaves();
    const third = new FakePeer();
    rig.router.attach(batch, third);
    expect(third.got).toEqual([frameOf({ type: T.Opened, session: batch })]);
  });

  test('knows no other steps', () => {
    expect(() => rig.router.attachResumed(99n, 'x', rig.shim, [])).toThrow(RangeError);
    // One that had hardly been opened is opened again, by its id.
    expect(() => rig.router.attachResumed(7n, '1', rig.shim, [])).toThrow(RangeError);
    rig.router.open(7n, '1', START, rig.shim);
    expect(rig.link.types).toEqual([T.Open]);
  });

  test('tells the end of a step that had ended, to a shim that its command starts again', () => {
    rig.router.attachResumed(task, '0', rig.shim, kept);
    expect(rig.shim.types).toEqual([T.Opened, T.Resume]);
    rig.shim.says({ type: T.Attach, session: task, payload: positions });
    expect(rig.shim.got.slice(2)).toMatchObject([{ type: T.Attached, flags: 2 }, { type: T.Exit }]);
    expect(parseExit(rig.shim.got[3] as Frame)).toEqual({
      ...{ status: { kind: 'signalled', signal: 9 } },
      ...{ stdoutEnd: 10n, stderrEnd: 0n },
    });
    rig.shim.says({ type: T.ExitAck, session: task });
    const second = new FakePeer();
    rig.router.attach(task, second);
    expect(second.got).toEqual([frameOf({ type: T.Opened, session: task })]);
    expect(rig.link.sent).toEqual([]);
  });

  test('calls a command again when the step that called it is there, and not before', async () => {
    rig.router.attachResumed(batch, 'batch', rig.shim, kept);
    await settle();
    expect(rig.asked).toEqual([]);
    rig.shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    expect(rig.asked).toMatchObject([
      { session: command, parent: batch, again: true, call: { args: ['srun'] } },
    ]);
    expect(rig.shim.got.at(-1)).toMatchObject({ type: T.Open, session: command });
    rig.shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    expect(rig.asked).toHaveLength(1);
  });

  test('gives a stub what was kept while its command is still away, and no 60 s', async () => {
    for (const delivered of [4, 6])
      rig.link.from({ type: T.Attach, session: command, payload: u64s([0, delivered, 0]) });
    // Not before the guest has seen the last ATTACHED: output goes by the other port.
    rig.link.fence(1);
    await settle();
    expect(rig.link.types).toEqual([T.Attached, T.Attached]);
    rig.link.fence();
    await settle();
    expect(rig.link.types).toEqual([T.Attached, T.Attached, T.Data]);
    expect(rig.link.sent[2]).toMatchObject({ offset: 6n, stream: 1 });
    expect(payloadOf(rig.link.sent[2] as Frame).toString()).toBe('pt');
  });

  test('keeps to the window of a stub that does not read', async () => {
    newRouter();
    const bytes = Buffer.alloc(WINDOW_BYTES + 100_000);
    const [moved] = STATE.relays;
    const streams = [
      { acknowledged: 4n, bytes },
      { acknowledged: 0n, bytes: Buffer.alloc(0) },
    ] as const;
    rig.router.resume({ ...STATE, relays: moved ? [{ ...moved, streams }] : [] });
    rig.link.from({ type: T.Attach, session: command, payload: u64s([0, 4, 0]) });
    rig.link.fence();
    await settle();
    const sent = () =>
      rig.link.sent.reduce((sum, { type, length }) => sum + (type === T.Data ? length : 0), 0);
    expect(sent()).toBe(WINDOW_BYTES);
    rig.link.from({ type: T.Ack, session: command, stream: 1, offset: 100_004n });
    expect(sent()).toBe(bytes.length);
  });

  test('refuses a command behind what it had said before', async () => {
    rig.decision = { refuse: 'not twice', exitCode: 75 };
    rig.router.attachResumed(batch, 'batch', rig.shim, kept);
    rig.shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    rig.link.sent = [];
    rig.link.from({ type: T.Attach, session: command, payload: u64s([0, 4, 0]) });
    rig.link.fence();
    await settle();
    rig.link.from({ type: T.Ack, session: command, stream: 1, offset: 8n });
    rig.link.from({ type: T.Ack, session: command, stream: 1, offset: 8n });
    expect(rig.link.types).toEqual([T.Attached, T.Data, T.Lost]);
    rig.link.from({ type: T.Attach, session: command, payload: u64s([0, 8, 0]) });
    expect(rig.link.types.slice(3)).toEqual([T.Attached, T.Data, T.Exit]);
    expect(payloadOf(rig.link.sent[4] as Frame).toString()).toBe('not twice\n');
    const exit = parseExit(last(rig.link.sent, T.Exit) as Frame);
    expect(exit).toMatchObject({ status: { kind: 'exited', code: 75 }, stdoutEnd: 8n, stderrEnd: 10n });
  });

  test('keeps signals for a command that is still away, and does not call one whose caller died', async () => {
    rig.link.from({ type: T.Signal, session: command, offset: 10n });
    rig.router.attachResumed(batch, 'batch', rig.shim, kept);
    rig.shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    expect(rig.shim.got.slice(-2)).toMatchObject([{ type: T.Open }, { type: T.Signal, offset: 10n }]);

    newRouter();
    rig.router.resume(STATE);
    rig.link.from({ type: T.Signal, session: command, offset: 9n });
    rig.shim = new FakePeer();
    rig.router.attachResumed(batch, 'batch', rig.shim, kept);
    rig.shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    expect(rig.shim.types).not.toContain(T.Open);
  });

  test('tells the end of a command that had ended', () => {
    newRouter();
    const relays = STATE.relays.map((moved) => ({ ...moved, exit: { kind: 'exited', code: 9 } as const }));
    rig.router.resume({ ...STATE, relays });
    rig.link.from({ type: T.Attach, session: command, payload: u64s([0, 8, 0]) });
    const exit = parseExit(last(rig.link.sent, T.Exit) as Frame);
    expect(exit).toEqual({ status: { kind: 'exited', code: 9 }, stdoutEnd: 8n, stderrEnd: 0n });
    rig.link.from({ type: T.ExitAck, session: command });
    rig.link.sent = [];
    rig.link.from({ type: T.Ack, session: command, stream: 1, offset: 8n });
    expect(rig.link.sent).toEqual([]);
  });

  test('says what it cannot call again', async () => {
    newRouter();
    rig.router.resume({
      ...STATE,
      relays: STATE.relays.map((moved) => ({ ...moved, call: Buffer.alloc(0) })),
    });
    rig.link.from({ type: T.Attach, session: command, payload: u64s([0, 8, 0]) });
    expect(parseExit(last(rig.link.sent, T.Exit) as Frame).status).toEqual({ kind: 'exited', code: 75 });
    expect(payloadOf(last(rig.link.sent, T.Data) as Frame).toString()).toMatch(/^caddis: .*another host/);
  });

  test('can leave again at once, and nothing is lost by that', async () => {
    rig.link.from({ type: T.Attach, session: command, payload: u64s([0, 5, 0]) });
    const { sessions, relays } = await rig.router.move(SOON);
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
    rig.router.attachResumed(batch, 'batch', rig.shim, kept);
    rig.shim.says({ type: T.Attach, session: batch, payload: positions });
    await settle();
    produces(rig.shim, 'new', 0, 5);
    rig.link.from({ type: T.Attach, session: command, payload: u64s([0, 6, 0]) });
    const { relays } = await rig.router.move(SOON);
    expect(relays[0]).toMatchObject({ started: true, stdinAccepted: 8n });
    expect(relays[0]?.streams[0]).toEqual({ acknowledged: 6n, bytes: Buffer.from('ptnew') });
  });
});

test('a command that was called again leaves with what its caller took since', async () => {
  rig.router.resume(STATE);
  rig.router.attachResumed(batch, 'batch', rig.shim, []);
  rig.shim.says({ type: T.Attach, session: batch, payload: u64s([0, 0, 0]) });
  await settle();
  rig.link.from({ type: T.Attach, session: command, payload: u64s([0, 8, 0]) });
  rig.shim.says({
    type: T.Attached,
    session: command,
    flags: 1,
    offset: rig.shim.got.at(-1)?.offset ?? 0n,
    payload: attached([0, 0, 0, 3, 0, 0]),
  });
  rig.link.from({ type: T.Ack, session: command, stream: 1, offset: 10n });
  produces(rig.shim, 'newer', 2, 1);
  const { relays } = await rig.router.move(SOON);
  expect(relays[0]?.streams[0]).toEqual({ acknowledged: 10n, bytes: Buffer.from('wer') });
});

test('a command that was called again is found by a caddisd that is restarted after the move', async () => {
  rig.router.resume(STATE);
  rig.router.attach(batch, rig.shim, 'batch');
  expect(rig.shim.got).toEqual([frameOf({ type: T.Opened, session: batch })]);
  rig.shim.says({ type: T.Attach, session: batch, payload: u64s([0, 12, 0]) });
  rig.link.from({ type: T.Attach, session: command, payload: u64s([0, 10, 0]) });
  await settle();
  // The shim has it: its OPEN is an ATTACH, and its answer is no news to the stub.
  expect(rig.shim.types.slice(1)).toEqual([T.Open]);
  rig.shim.says({ type: T.Attached, session: command, flags: 1, payload: attached([0, 0, 1, 9, 0, 0]) });
  rig.link.fence();
  await settle();
  expect(rig.link.types).toEqual([T.Attach, T.Attached, T.Lost]);
  rig.link.from({ type: T.Attach, session: command, payload: u64s([0, 10, 0]) });
  expect(rig.shim.got.at(-1)).toMatchObject({ type: T.Attach, session: command });
  expect(payloadOf(rig.shim.got.at(-1) as Frame)).toEqual(u64s([0, 2, 0]));
});

test('MOVED is read as it was written, and nothing else is', () => {
  const stands = [{ delivered: 2n ** 40n, position: 5n, device: 1n, inode: 2n }, { delivered: 0n }] as const;
  expect(parseMoved(encodeMoved(1n, stands))).toEqual(stands);
  expect(() => parseMoved(frameOf({ type: T.Moved, payload: Buffer.alloc(63) }))).toThrow(ProtocolError);
  expect(() => encodeResume(1n, [{ stream: 1, delivered: 0n, file: { path: 'a\0b', length: 1n } }])).toThrow(
    RangeError,
  );
});
