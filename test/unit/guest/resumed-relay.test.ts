import { expect, test } from 'vitest';

import { type Frame, type FrameFields, frameOf } from '../../../src/guest/protocol/frame.ts';
import { TlvWriter, u64s } from '../../../src/guest/protocol/tlv.ts';
import { FrameType, GUEST_OPENED, Tag } from '../../../src/guest/protocol/types.ts';
import type { MovedRelay } from '../../../src/guest/sessions/moved.ts';
import { SessionRouter } from '../../../src/guest/sessions/router.ts';
import { FakeLink, FakePeer, START } from './fake-session.ts';
import { random } from './random.ts';
import { ProcessModel, pattern, StubModel } from './stream-models.ts';

const T = FrameType;
const id = GUEST_OPENED | 9n;
const step = 5n;
const document = new TlvWriter().u64(Tag.Uid, 1).u64(Tag.Gid, 1).u64(Tag.Parent, step).text(Tag.Arg, 'srun');

/** A stub and a command that is called again for it, with a link and a shim that break at random places. */
class Journey {
  readonly link = new FakeLink();
  readonly router: SessionRouter;
  readonly pick: (below: number) => number;
  readonly stub: StubModel;
  readonly command: ProcessModel;
  readonly violations: string[] = [];
  readonly again: boolean[] = [];
  peer: FakePeer | undefined;
  #toRouter: FrameFields[] = [];
  #fromCommand: FrameFields[] = [];

  constructor(seed: number, moved: MovedRelay, stub: ConstructorParameters<typeof StubModel>[1]) {
    this.pick = random(seed);
    this.link.isUp = false;
    this.router = new SessionRouter(this.link, {
      decideRelay: async ({ again }) => {
        this.again.push(again);
        return { allow: START };
      },
    });
    this.router.on('violation', (text) => this.violations.push(text));
    this.router.resume({
      sessions: [
        { session: step, name: 'batch', phase: 'running', streams: [{ delivered: 0n }, { delivered: 0n }] },
      ],
      relays: [moved],
      forget: [],
    });
    this.stub = new StubModel(id, stub, (fields) => this.#toRouter.push(fields));
    const lengths = [this.pick(300_000), this.pick(20_000)] as const;
    this.command = new ProcessModel(id, [pattern(0, lengths[0], 1), pattern(0, lengths[1], 2)], (fields) =>
      this.#fromCommand.push(fields),
    );
  }

  /** One thing happens. */
  async turn(cuts: { link: number; peer: number }): Promise<void> {
    if (!this.link.isUp) this.#linkUp();
    else if (cuts.link > 0 && this.pick(cuts.link) === 0) this.#linkDown();
    if (!this.peer) this.#peerComes();
    // An OPEN that is lost on its way is not sent again: that command has not run.
    else if (cuts.peer > 0 && this.command.started > 0 && this.pick(cuts.peer) === 0) this.#peerGoes();
    const what = this.pick(6);
    if (what === 0) this.link.fence();
    else if (what === 1) this.stub.step(this.pick);
    else if (what === 2) this.command.step(this.pick);
    else if (what === 3)
      for (const fields of this.#toRouter.splice(0, 1 + this.pick(3))) this.link.from(fields);
    else if (what === 4)
      for (const fields of this.#fromCommand.splice(0, 1 + this.pick(3))) this.peer?.says(fields);
    else this.#deliver();
    await Promise.resolve();
  }

  /** Towards the guest and the shim. */
  #deliver(): void {
    for (const frame of this.link.sent.splice(0, 1 + this.pick(4))) this.#intoGuest(frame);
    for (const frame of this.peer?.got.splice(0, 1 + this.pick(4)) ?? []) this.#intoShim(frame);
  }

  #intoGuest(frame: Frame): void {
    if (frame.session === id) this.stub.take(frame);
  }

  #intoShim(frame: Frame): void {
    if (frame.session === id) this.command.take(frame);
    else if (frame.type === T.Opened)
      this.peer?.says({ type: T.Attach, session: step, payload: u64s([0, 0, 0]) });
  }

  #linkUp(): void {
    this.link.up();
    this.stub.linkUp();
  }

  /** What is on its way in either direction is lost. */
  #linkDown(): void {
    this.link.sent = [];
    this.#toRouter = [];
    this.link.down();
  }

  #peerComes(): void {
    this.peer = new FakePeer();
    this.router.attach(step, this.peer, 'batch');
  }

  #peerGoes(): void {
    const peer = this.peer;
    this.peer = undefined;
    this.#fromCommand = [];
    this.command.detached();
    peer?.leaves();
  }
}

function movedAt(pick: (below: number) => number) {
  const acknowledged = [1_000_000 + pick(5), pick(2) * 77] as const;
  const kept = [
    pattern(acknowledged[0], pick(3) === 0 ? 0 : pick(400_000), 3),
    pattern(acknowledged[1], pick(5000), 4),
  ] as const;
  const input = pattern(0, pick(400_000), 5);
  const accepted = pick(input.length + 1);
  const moved: MovedRelay = {
    ...{ session: id, parent: step, call: document.finish(), started: true },
    stdinAccepted: BigInt(accepted),
    streams: [
      { acknowledged: BigInt(acknowledged[0]), bytes: kept[0] },
      { acknowledged: BigInt(acknowledged[1]), bytes: kept[1] },
    ],
  };
  // The guest may have taken more than it had said, and have heard of less than was accepted.
  const ahead = [pick(kept[0].length + 1), pick(kept[1].length + 1)] as const;
  const stub = {
    delivered: [acknowledged[0] + ahead[0], acknowledged[1] + ahead[1]] as const,
    input,
    inputAcknowledged: pick(accepted + 1),
  };
  return { moved, kept, ahead, stub, accepted };
}

test.each([
  ['nothing breaks', { link: 0, peer: 0 }],
  ['the link breaks', { link: 60, peer: 0 }],
  ['the shim comes back', { link: 0, peer: 90 }],
  ['both break', { link: 90, peer: 90 }],
])('every byte arrives once, in both directions, when %s', async (_what, cuts) => {
  for (let seed = 1; seed <= 12; seed++) {
    const pick = random(1000 + seed);
    const { moved, kept, ahead, stub, accepted } = movedAt(pick);
    const journey = new Journey(seed, moved, stub);
    const context = `seed ${seed}`;
    for (let turns = 0; !journey.stub.over && turns < 20_000; turns++)
      // After a while nothing breaks any more, so that it comes to an end.
      await journey.turn(turns < 3000 ? cuts : { link: 0, peer: 0 });
    expect(journey.violations, context).toEqual([]);
    expect(journey.stub.exit?.status, context).toEqual({ kind: 'exited', code: 7 });
    expect(journey.command.started, context).toBe(1);
    expect(journey.again, context).toEqual([true]);
    const [stdout, stderr] = [journey.stub.got[0], journey.stub.got[1]];
    const ends = [journey.stub.exit?.stdoutEnd ?? 0n, journey.stub.exit?.stderrEnd ?? 0n].map(Number) as [
      number,
      number,
    ];
    for (const [i, got] of [stdout, stderr].entries()) {
      const old = (kept[i] as Buffer).subarray(ahead[i]);
      const begin = stub.delivered[i] as number;
      const fresh = pattern(0, (ends[i] as number) - begin - old.length, i + 1);
      expect(got.equals(Buffer.concat([old, fresh])), `${context}, stream ${i + 1}`).toBe(true);
    }
    expect(
      Buffer.concat(journey.command.input).equals(stub.input.subarray(accepted)),
      `${context}, stdin`,
    ).toBe(true);
  }
});

test('a stub that stands before what it had acknowledged is told so, and nothing is sent twice', () => {
  const { moved } = movedAt(random(1));
  const link = new FakeLink();
  const router = new SessionRouter(link, { decideRelay: async () => ({ refuse: 'no', exitCode: 1 }) });
  router.resume({ sessions: [], relays: [moved], forget: [] });
  link.from({ type: T.Attach, session: id, payload: u64s([0, 5, 0]) });
  expect(link.sent).toMatchObject(
    [frameOf({ type: T.Exit, session: id, payload: expect.any(Buffer) })].map(({ type }) => ({ type })),
  );
});
