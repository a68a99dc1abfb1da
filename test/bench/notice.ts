import type { Turn } from '../integration/pressure/lending.ts';
import type { Figures } from './bench.ts';
import { median, rounded } from './statistics.ts';

const AIM_PERCENT = 5;

/** How much longer a job's work takes beside something than alone, from turns of both kinds that alternate; and how much it differs alone. `what`: the time of the work. */
export function notice(
  rounds: readonly { readonly beside: Turn; readonly alone: Turn }[],
  what: (turn: Turn) => number,
): Figures {
  const beside = median(rounds.map((round) => what(round.beside)));
  const alone = rounds.map((round) => what(round.alone));
  const slower = 100 * (beside / median(alone) - 1);
  const noise = (100 * (Math.max(...alone) - Math.min(...alone))) / median(alone);
  return {
    slower_percent: rounded(slower),
    alone_spread_percent: rounded(noise),
    aim_percent: AIM_PERCENT,
    // Where it differs alone by more than the aim, nothing was shown.
    met: slower <= AIM_PERCENT ? true : noise > AIM_PERCENT ? null : false,
    runs: rounds.length,
  };
}
