import { beforeEach, describe, expect, test } from 'vitest';

import { SessionRouter } from '../../../src/guest/sessions/router.ts';
import { FakeLink } from './fake-session.ts';
import { batch, exitFields, rig, start, T, useRig } from './moving-rig.ts';

useRig();

describe('signals', () => {
  const signal = (offset: bigint, flags = 0) => ({ type: T.Signal, session: batch, offset, flags });
  const numbers = () =>
    rig.link.sent.filter(({ type }) => type === T.Signal).map(({ offset }) => Number(offset));
  let heard: unknown[];

  beforeEach(() => {
    heard = [];
    rig.link = new FakeLink();
    rig.router = new SessionRouter(rig.link, {
      decideRelay: async () => rig.decision,
      onSignal: (session, name, number) => {
        heard.push([session, name, number]);
        return number === 15 ? 'hold' : 'pass';
      },
    });
    start();
  });

  test('pass or are held, as whoever knows the scheduler says', () => {
    rig.shim.says(signal(10n));
    rig.shim.says(signal(15n));
    // Behind a held one: the order is the scheduler's.
    rig.shim.says(signal(12n));
    expect(numbers()).toEqual([10]);
    expect(heard).toEqual([10, 15, 12].map((number) => [batch, 'batch', number]));
    rig.router.releaseSignals(true);
    expect(numbers()).toEqual([10, 15, 12]);
    rig.shim.says(signal(12n));
    expect(numbers()).toEqual([10, 15, 12, 12]);
  });

  test('are dropped when the scheduler meant something else by them', () => {
    rig.shim.says(signal(15n));
    rig.router.releaseSignals(false);
    rig.router.releaseSignals(true);
    expect(numbers()).toEqual([]);
  });

  test('are bounded', () => {
    for (let i = 0; i < 100; i++) rig.shim.says(signal(15n));
    rig.router.releaseSignals(true);
    expect(numbers()).toHaveLength(64);
  });

  test('of a step that has ended are nobody’s', () => {
    rig.shim.says(signal(15n));
    rig.link.from(exitFields(batch, { kind: 'exited', code: 0 }));
    rig.shim.says({ type: T.ExitAck, session: batch });
    rig.router.releaseSignals(true);
    expect(numbers()).toEqual([]);
  });
});
