import type { Figures } from './bench.ts';
import { median, rounded } from './statistics.ts';

const AIM_PERCENT = 5;

/** How much longer a job's work takes beside something than alone, from turns of both kinds that alternate; and how much it differs alone. */
export function notice(turns: readonly { readonly besideMs: number; readonly aloneMs: number }[]): Figures {
  const alone = turns.map(({ aloneMs }) => aloneMs);
  const slower = 100 * (median(turns.map(({ besideMs }) => besideMs)) / median(alone) - 1);
  const noise = (100 * (Math.max(...alone) - Math.min(...alone))) / median(alone);
  return {
    slower_percent: rounded(slower),
    alone_spread_percent: rounded(noise),
    aim_percent: AIM_PERCENT,
    // Where it differs alone by more than the aim, nothing was shown.
    met: slower <= AIM_PERCENT ? true : noise > AIM_PERCENT ? null : false,
    runs: turns.length,
  };
}
