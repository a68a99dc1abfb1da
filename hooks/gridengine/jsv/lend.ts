import { parseMemory } from './sizes.ts';
import type { Submission } from './submission.ts';

/** The queue whose jobs run in memory that others have reserved, or nobody; and which jobs go there that name no queue. */
export interface LendingPolicy {
  readonly queue: string;
  /** Forced, and offered by that queue alone. */
  readonly queueComplex: string;
  /** The host's load value that must cover the job. */
  readonly slackComplex: string;
  /** Limits of the jobs that are sent there unasked; undefined: none are. A job that does not say its memory and its run time is none of them. */
  readonly small:
    | { readonly memoryBytes: number; readonly slots: number; readonly seconds: number }
    | undefined;
}

export type Lending =
  | { readonly lent: false }
  | {
      readonly lent: true;
      /** The request that takes the place of the memory consumable. */
      readonly hard: Readonly<Record<string, string>>;
      readonly queues: readonly string[] | undefined;
    };

export interface Refusal {
  readonly wrong: string;
}

const ORDINARY: Lending = { lent: false };

/**
 * Whether the job runs in slack. It then asks for that instead of the host's memory: what it is lent is no reservation, and must neither wait for one nor take one from those who
 * pay for it. `memory`: bytes per slot, and in whose words; undefined: the job does not say. `hard`: names in full.
 */
export function lend(
  submission: Submission,
  hard: ReadonlyMap<string, string>,
  memory: { readonly bytes: number; readonly words: string } | undefined,
  policy: LendingPolicy,
): Lending | Refusal {
  const isNamed = namesQueue(submission.queues, policy.queue) || isTrue(hard.get(policy.queueComplex));
  if (!isNamed && !isSmall(submission, hard, memory?.bytes, policy)) return ORDINARY;
  if (submission.interactive)
    return { wrong: `${policy.queue} takes batch jobs only: they may be sent back` };
  if (submission.rerun === 'n')
    return { wrong: `${policy.queue} takes no job with -r n: it may be sent back to the queue` };
  if (!memory)
    return { wrong: `say how much memory the job needs: ${policy.queue} takes for example -l h_vmem=2G` };
  const { slots } = submission;
  return {
    lent: true,
    hard: {
      [policy.queueComplex]: 'TRUE',
      // A load value is compared with the request as it stands, whatever the number of slots.
      [policy.slackComplex]: slots > 1 ? String(memory.bytes * slots) : memory.words,
    },
    queues: submission.queues.length > 0 ? undefined : [policy.queue],
  };
}

/** Where one of several queues is another the job is an ordinary one: the forced complex keeps it out of this one. */
function namesQueue(queues: readonly string[], queue: string): boolean {
  return queues.length > 0 && queues.every((name) => name.split('@')[0] === queue);
}

function isSmall(
  { queues, checkpointEnvironment, rerun, interactive, slots }: Submission,
  hard: ReadonlyMap<string, string>,
  bytesPerSlot: number | undefined,
  { small }: LendingPolicy,
): boolean {
  if (!small || queues.length > 0 || checkpointEnvironment !== undefined || rerun === 'n' || interactive)
    return false;
  const seconds = parseTime(hard.get('h_rt'));
  if (seconds === undefined || bytesPerSlot === undefined) return false;
  return seconds <= small.seconds && slots <= small.slots && bytesPerSlot * slots <= small.memoryBytes;
}

function isTrue(value: string | undefined): boolean {
  return value !== undefined && /^(1|TRUE)$/i.test(value);
}

/** Seconds of a time specifier (sge_types(1)): `600`, `10:00`, `0:10:0`. */
function parseTime(text: string | undefined): number | undefined {
  if (!/^\d+(:\d+){0,2}$/.test(text ?? '')) return undefined;
  return (text as string).split(':').reduce((sum, part) => 60 * sum + Number(part), 0);
}

/**
 * Reads the JSV's words `--lend=QUEUE` and `--small=memory=1G,slots=1,h_rt=0:30:0`. Throws Error naming the word that is wrong.
 */
export function readLending(words: readonly string[]): LendingPolicy | undefined {
  const of = (name: string) => words.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
  const queue = of('--lend');
  const small = of('--small');
  if (queue === undefined) return undefined;
  return {
    queue,
    queueComplex: 'scavenge',
    slackComplex: 'vm_mem_slack',
    small: small === undefined ? undefined : readSmall(small),
  };
}

function readSmall(text: string): NonNullable<LendingPolicy['small']> {
  const limits = new Map(text.split(',').map((one) => one.split('=') as [string, string | undefined]));
  const memoryBytes = parseMemory(limits.get('memory') ?? '');
  const slots = Number(limits.get('slots') ?? 1);
  const seconds = parseTime(limits.get('h_rt'));
  if (memoryBytes === undefined || seconds === undefined || !Number.isInteger(slots) || limits.size > 3)
    throw new Error(`--small=${text}: expected --small=memory=1G,slots=1,h_rt=0:30:0`);
  return { memoryBytes, slots, seconds };
}
