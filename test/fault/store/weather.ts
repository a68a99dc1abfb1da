import { StoreFull, StoreUnavailable } from '../../../src/checkpoint/errors.ts';
import { Crashed, type Operation, type Weather } from './unreliable-io.ts';

/** The process dies when it has done `count` operations. */
export function crashAfter(count: number): Weather {
  return {
    before: ({ index }) => {
      if (index > count) throw new Crashed();
    },
  };
}

/** One operation finds the disk full. Others have room: what it frees is used by another at once. */
export function fullAt(at: number): Weather {
  return {
    before: ({ index, path, changes }) => {
      if (index === at && changes) throw new StoreFull(`${path}: ENOSPC`);
    },
  };
}

/** The store does not answer from operation `at` on, for `count` operations. `done`: the first one came to pass all the same. */
export function awayAt(at: number, count: number, done: boolean): Weather {
  const away = ({ index, path }: Operation) => {
    if (index >= at && index < at + count) throw new StoreUnavailable(path, 'no answer');
  };
  return {
    before: (operation) => {
      if (!done || operation.index !== at) away(operation);
    },
    after: (operation) => {
      if (operation.index === at) away(operation);
    },
  };
}

/** Operations of several writers take turns in an order that the seed gives; now and then one is so slow that the others get far ahead. */
export function interleaved(random: (below: number) => number): Weather {
  return {
    before: async () => {
      for (let turns = random(8) === 0 ? random(300) : random(6); turns > 0; turns--) await Promise.resolve();
    },
  };
}
