import { type Claim, Claims } from '../../../src/checkpoint/claims.ts';
import { isClaimLost } from '../../../src/checkpoint/errors.ts';
import { random } from '../../unit/guest/random.ts';
import type { Tally } from '../fault.ts';
import { demand } from './inspect.ts';
import { interleaved } from './weather.ts';
import { KEY, newWorld, STORE } from './world.ts';

const RACES = 150;
const NODES = 4;
const ROUNDS = 3;

/** Several nodes claim one job at the same time, again and again, on a server that now and then does a call twice. */
export async function claimRaces(tally: Tally): Promise<void> {
  for (let seed = 0; seed < RACES; seed++)
    await tally.variant('claim-race', `seed ${seed}`, async () => {
      const draw = random(seed);
      const { io } = await newWorld();
      io.weather = { ...interleaved(draw), twice: ({ what }) => what === 'link' && draw(3) === 0 };
      const won: Claim[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const before = won.length;
        await Promise.all(Array.from({ length: NODES }, (_, node) => compete(node, round)));
        demand(won.length > before, `nobody won round ${round}`);
      }
      const epochs = won.map(({ epoch }) => epoch);
      demand(new Set(epochs).size === epochs.length, `an epoch has two holders: ${epochs.join(' ')}`);
      const claims = new Claims(io, STORE);
      const mine = await Promise.all(won.map((claim) => claims.isMine(claim)));
      demand(mine.filter(Boolean).length === 1, `${mine.filter(Boolean).length} hold the job`);
      demand(mine[epochs.indexOf(Math.max(...epochs))] === true, 'the highest epoch does not count');

      async function compete(node: number, round: number): Promise<void> {
        const claims = new Claims(io, STORE);
        const holder = {
          host: `n${node}`,
          machine: `m${node}-${round}`,
          incarnation: `${round}`,
          bootId: `b${node}`,
        };
        const after = (await claims.current(KEY))?.epoch ?? 0;
        try {
          won.push(await claims.acquire(KEY, holder, after));
        } catch (error) {
          if (!isClaimLost(error)) throw error;
        }
      }
    });
}
