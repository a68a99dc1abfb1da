import { constants } from 'node:os';

import * as z from 'zod';

import { parseBytes } from '../model/units.ts';

/** A share of something that the key names, or a number of its own. */
export type Amount =
  | { readonly kind: 'share'; readonly share: number }
  | { readonly kind: 'fixed'; readonly value: number };

/** "25%", or what `parse` makes of the text. */
function amount(parse: (text: string) => number) {
  return z.union([z.number().positive(), z.string()]).transform((value, context): Amount => {
    const percent = /^(\d+(?:\.\d+)?)\s*%$/.exec(`${value}`.trim())?.[1];
    if (percent !== undefined) return { kind: 'share', share: Number(percent) / 100 };
    try {
      return { kind: 'fixed', value: typeof value === 'number' ? value : parse(value) };
    } catch (error) {
      context.addIssue({ code: 'custom', message: `${(error as Error).message}, or "150%"` });
      return z.NEVER;
    }
  });
}

const bytesOrShare = amount(parseBytes);
const cpusOrShare = amount((text) => {
  if (!/^\d+$/.test(text)) throw new RangeError(`"${text}" is no number of CPUs: write for example 4`);
  return Number(text);
});
/** Signals whose default action, if any, a job can change. */
const signal = z
  .string()
  .refine(
    (name) => name in constants.signals && !/^SIG(KILL|STOP)$/.test(name),
    'must be the name of a signal that can be caught, such as "SIGUSR1"',
  ) as z.ZodType<NodeJS.Signals>;

const fields = {
  /** Grow jobs whose memory runs out. */
  enabled: z.boolean(),
  /** While they run; false: only by on_no_room. */
  live: z.boolean(),
  /** A job with less than this left below its wall is grown. Of the wall. */
  mark: bytesOrShare,
  /** By how much, at least. Of the wall. */
  step: bytesOrShare,
  /** The largest wall. Of what the job asked for. */
  limit: bytesOrShare,
  /** The most CPUs. Of what the job asked for. */
  cpus: cpusOrShare,
  /** What becomes of a job that cannot be grown where it is, though the limit allows more. */
  on_no_room: z.enum(['requeue', 'signal', 'wall']),
  signal,
  /** How often a job is put back into the queue for more memory. */
  requeues: z.number().int().min(0).max(100),
  /** Seconds without need after which what was grown is taken back; 0 = never. */
  shrink_after: z.number().nonnegative().max(86_400),
};

/** [growth] of caddis.toml. */
export const growthSchema = z
  .strictObject({
    enabled: fields.enabled.default(false),
    live: fields.live.default(true),
    mark: fields.mark.prefault('8%'),
    step: fields.step.prefault('25%'),
    limit: fields.limit.prefault('200%'),
    cpus: fields.cpus.prefault('100%'),
    on_no_room: fields.on_no_room.default('requeue'),
    signal: fields.signal.default('SIGUSR1'),
    requeues: fields.requeues.default(3),
    shrink_after: fields.shrink_after.default(120),
    /** Partitions or queues for which other values hold. */
    queues: z.record(z.string(), z.strictObject(fields).partial()).default({}),
  })
  .prefault({});

type Growth = z.infer<typeof growthSchema>;
/** What holds for one partition or queue. */
export type QueueGrowth = Omit<Growth, 'queues'>;

export function growthOf({ queues, ...site }: Growth, queue: string): QueueGrowth {
  const own = Object.entries(queues[queue] ?? {}).filter(([, value]) => value !== undefined);
  return { ...site, ...Object.fromEntries(own) };
}

/** The number that an amount means where `whole` is 100 %. */
export function amountOf(amount: Amount, whole: number): number {
  return amount.kind === 'share' ? amount.share * whole : amount.value;
}
