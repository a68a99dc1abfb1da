import { beforeEach } from 'vitest';

import { type Frame, payloadOf } from '../../../src/guest/protocol/frame.ts';
import { encodeMoved } from '../../../src/guest/protocol/move-documents.ts';
import { type Exit, encodeExit } from '../../../src/guest/protocol/session-payloads.ts';
import { TlvWriter, u64s } from '../../../src/guest/protocol/tlv.ts';
import { FrameType, GUEST_OPENED, Tag } from '../../../src/guest/protocol/types.ts';
import type { RelayDecision, RelayRequest } from '../../../src/guest/sessions/relays.ts';
import { SessionRouter } from '../../../src/guest/sessions/router.ts';
import { FakeLink, FakePeer, START } from './fake-session.ts';

export const T = FrameType;
export const batch = 5n;
export const task = 6n;
export const command = GUEST_OPENED | 1n;
export const call = new TlvWriter()
  .u64(Tag.Uid, 1)
  .u64(Tag.Gid, 1)
  .u64(Tag.Parent, batch)
  .text(Tag.Arg, 'srun')
  .finish();
export const SOON = { quietMs: 10, drainMs: 60, answerMs: 80 };
export const settle = () => new Promise((resolve) => setImmediate(resolve));
export const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
export const exitFields = (session: bigint, status: Exit['status'], stdoutEnd = 0n) => ({
  ...{ type: T.Exit, session },
  payload: payloadOf(encodeExit(session, { status, stdoutEnd, stderrEnd: 0n })),
});
export const attached = (positions: number[]) => Buffer.concat([u64s(positions), Buffer.alloc(4)]);
export const last = (frames: readonly Frame[], type: number) =>
  frames.findLast((frame) => frame.type === type);

/** A router between a guest's link and a step's shim, made anew for each test. */
export const rig = { asked: [] as RelayRequest[], decision: { allow: START } as RelayDecision } as {
  link: FakeLink;
  shim: FakePeer;
  router: SessionRouter;
  decision: RelayDecision;
  asked: RelayRequest[];
};

export function newRouter(): void {
  rig.link = new FakeLink();
  rig.router = new SessionRouter(rig.link, {
    decideRelay: async (request) => {
      rig.asked.push(request);
      return rig.decision;
    },
  });
}

/** To be called by each file of tests. */
export function useRig(): void {
  beforeEach(() => {
    rig.shim = new FakePeer();
    rig.asked = [];
    rig.decision = { allow: START };
    newRouter();
  });
}

export function start(session = batch, peer = rig.shim, origin = {}): void {
  rig.router.open(session, session === batch ? 'batch' : '0', START, peer, origin);
  rig.link.from({ type: T.Opened, session, offset: 9n });
}

export async function relay(): Promise<void> {
  rig.link.from({ type: T.Open, session: command, payload: call });
  await settle();
  rig.shim.says({ type: T.Opened, session: command });
  rig.link.fence();
  await settle();
}

/** Answers as a shim does, once it is asked. */
export function answers(peer: FakePeer, session: bigint, delivered: bigint): void {
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
export function produces(peer: FakePeer, text: string, from: number, stdin = 0, ended = false): void {
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
