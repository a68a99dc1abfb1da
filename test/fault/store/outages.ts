import { isStoreFull, isStoreUnavailable } from '../../../src/checkpoint/errors.ts';
import type { Tally } from '../fault.ts';
import { demand, inspect } from './inspect.ts';
import { type Scenario, scenarios } from './scenarios.ts';
import type { Weather } from './unreliable-io.ts';
import { awayAt, fullAt } from './weather.ts';
import { fillDraft, newWorld, save } from './world.ts';

/** The disk is full, or the store does not answer, at each operation of each scenario. What was good stays good, and a later try succeeds. */
export async function outages(tally: Tally): Promise<void> {
  for (const scenario of scenarios) {
    const log = await logOf(scenario);
    for (const { index, changes, what } of log) {
      if (changes)
        await tally.variant(`full-${scenario.name}`, `operation ${index} (${what})`, () =>
          meet(scenario, fullAt(index), isStoreFull),
        );
      for (const done of changes ? [false, true] : [false])
        for (const count of [1, 3, 1000])
          await tally.variant(
            `away-${scenario.name}`,
            `from operation ${index} (${what}${done ? ', which was done' : ''}) for ${count}`,
            () => meet(scenario, awayAt(index, count, done), isStoreUnavailable),
          );
    }
  }
  await publishAgain(tally);
  await tally.variant('answered-twice', 'publish', async () => {
    const { io, store } = await newWorld();
    io.weather = { twice: ({ what }) => what === 'rename' };
    await save(store, 'a');
    await inspect(io, { required: ['a'] });
  });
}

async function logOf(scenario: Scenario) {
  const { io, store } = await arranged(scenario);
  await scenario.act(store);
  return [...io.log];
}

async function arranged(scenario: Scenario) {
  const { io, store } = await newWorld();
  await scenario.arrange(store);
  io.log.length = 0;
  return { io, store };
}

async function meet(
  scenario: Scenario,
  weather: Weather,
  isExpected: (error: unknown) => boolean,
): Promise<void> {
  const { io, store } = await arranged(scenario);
  io.weather = weather;
  const done = await scenario.act(store).then(
    () => true,
    (error: unknown) => {
      demand(isExpected(error), `it ends with ${error instanceof Error ? error.message : error}`);
      return false;
    },
  );
  io.onlyProcessDied = true;
  await scenario.check(io, done);
}

/** Of a second checkpoint: to its last sync. */
const PUBLISH_OPERATIONS = 11;

/** A publish that met an absent store is called again when the store is back: it succeeds once, whatever had come to pass. */
async function publishAgain(tally: Tally): Promise<void> {
  for (let at = 1; at <= PUBLISH_OPERATIONS; at++)
    for (const done of [false, true])
      await tally.variant(
        'publish-again',
        `away at operation ${at}${done ? ', which was done' : ''}`,
        async () => {
          const { io, store } = await newWorld();
          await save(store, 'a');
          const { draft, manifest } = await fillDraft(store, 'b');
          io.log.length = 0;
          io.weather = awayAt(at, 1, done);
          await draft
            .publish(manifest)
            .catch((error: unknown) => demand(isStoreUnavailable(error), String(error)));
          await draft.publish(manifest);
          await inspect(io, { required: ['a', 'b'] });
        },
      );
}
