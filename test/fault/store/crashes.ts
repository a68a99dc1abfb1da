import { random } from '../../unit/guest/random.ts';
import type { Tally } from '../fault.ts';
import { fateOf } from './disk.ts';
import { type Scenario, scenarios } from './scenarios.ts';
import { Crashed, type UnreliableIo } from './unreliable-io.ts';
import { crashAfter } from './weather.ts';
import { newWorld } from './world.ts';

/** After-crash states that are drawn for each place of a crash, beside "all lost" and "all kept". */
const SEEDS = 5;

/** Every scenario, cut off after each of its operations, with several states that the file system may then be in. */
export async function crashes(tally: Tally): Promise<void> {
  for (const scenario of scenarios) {
    const places = await placesOf(scenario);
    for (const place of places)
      for (const fate of ['lost', 'kept', ...Array.from({ length: SEEDS }, (_, i) => i)] as const)
        await tally.variant(`crash-${scenario.name}`, `after operation ${place}, ${fate}`, async () => {
          const { io, done } = await cutOff(scenario, place);
          const seed = typeof fate === 'number' ? random(place * 1000 + fate) : fate;
          await scenario.check(io.afterCrash(fateOf(seed as Parameters<typeof fateOf>[0])), done);
        });
  }
}

/** Where a crash makes a difference: before the first operation, and after each that changes something. */
async function placesOf(scenario: Scenario): Promise<number[]> {
  const { io } = await cutOff(scenario, Number.POSITIVE_INFINITY);
  return [0, ...io.log.filter(({ changes }) => changes).map(({ index }) => index)];
}

async function cutOff(scenario: Scenario, place: number): Promise<{ io: UnreliableIo; done: boolean }> {
  const { io, store } = await newWorld();
  await scenario.arrange(store);
  io.settle();
  io.log.length = 0;
  io.weather = crashAfter(place);
  try {
    await scenario.act(store);
    return { io, done: true };
  } catch (error) {
    if (!(error instanceof Crashed)) throw error;
    return { io, done: false };
  }
}
