import { type Lending, type LendingPolicy, lend, type Refusal } from './lend.ts';
import { parseMemory } from './sizes.ts';
import type { Submission } from './submission.ts';

/** What the site wants moved. */
export interface JsvPolicy {
  /** Complexes that ask for memory per slot, the strongest first. */
  readonly memoryComplexes: readonly string[];
  /** Our consumable, per slot. */
  readonly memoryConsumable: string;
  /** Complex that asks for scratch space. */
  readonly scratchComplex: string;
  /** Complexes that ask for a device of the host, which no machine has. */
  readonly deviceComplexes: readonly string[];
  /** Which checkpoint environment the jobs of a queue get that name none; `*`: those that name no queue. */
  readonly checkpointEnvironments: ReadonlyMap<string, string>;
  /** Those of them in which a suspension moves the job, by the migration command. */
  readonly movingEnvironments: ReadonlySet<string>;
  /** Parallel environments that spread a job over hosts. */
  readonly spreading: ReadonlySet<string>;
  /** Undefined: the cell has no queue for jobs that run in slack. */
  readonly lending: LendingPolicy | undefined;
  /** Where jobs go that name no queue and are not lent; undefined: anywhere. */
  readonly defaultQueue: string | undefined;
}

export const defaultPolicy: JsvPolicy = {
  memoryComplexes: ['h_vmem', 'mem_free', 'virtual_free'],
  memoryConsumable: 'vm_mem',
  scratchComplex: 'vm_tmp',
  deviceComplexes: ['gpu', 'gpus', 'ngpus', 'cuda', 'gpu_card'],
  checkpointEnvironments: new Map(),
  movingEnvironments: new Set(['caddis-move']),
  spreading: new Set(),
  lending: undefined,
  defaultQueue: undefined,
};

export type Decision =
  | {
      readonly state: 'correct';
      /** The new hard list; undefined: unchanged. */
      readonly hard: ReadonlyMap<string, string> | undefined;
      readonly env: Readonly<Record<string, string>>;
      /** Makes the job one that can be moved: `-ckpt NAME`. Undefined: as it is. */
      readonly checkpointEnvironment: string | undefined;
      /** What the user should know. */
      readonly advice: string | undefined;
      /** The new `-q`; undefined: unchanged. */
      readonly queues: readonly string[] | undefined;
    }
  | { readonly state: 'reject'; readonly reason: string };

/** Shortcuts of Grid Engine's own complexes (complex(5)): users write either. */
const SHORTCUTS: Readonly<Record<string, string>> = {
  mf: 'mem_free',
  vf: 'virtual_free',
  vmm: 'vm_mem',
  vmt: 'vm_tmp',
  vms: 'vm_mem_slack',
  scv: 'scavenge',
};

/**
 * Takes h_vmem off the job, since it would become RLIMIT_AS of every hook, and asks for our consumable instead; tells the job's own
 * prolog what was asked through its environment: `CADDIS_MEM="2147483648 h_vmem=2G"` (bytes per slot, the user's words) and
 * `CADDIS_TMP="10737418240 vm_tmp=10G"`; and which devices, `CADDIS_DEVICES="gpu=1"`. mem_free and virtual_free are load values that pick a host, so they stay; without h_vmem they are also what the
 * machine gets. A job that is lent its memory asks for slack instead (lend.ts).
 */
export function decide(submission: Submission, policy: JsvPolicy = defaultPolicy): Decision {
  const hard = new Map([...submission.hard].map(([name, value]) => [SHORTCUTS[name] ?? name, value]));
  const { memoryConsumable, scratchComplex } = policy;
  const memorySource = [memoryConsumable, ...policy.memoryComplexes].find((name) => isLimit(hard.get(name)));
  const memory = readAmount(hard, memorySource);
  const scratch = readAmount(hard, hard.has(scratchComplex) ? scratchComplex : undefined);
  if ('wrong' in memory) return { state: 'reject', reason: memory.wrong };
  if ('wrong' in scratch) return { state: 'reject', reason: scratch.wrong };

  const lending: Lending | Refusal = policy.lending
    ? lend(submission, hard, memory.amount, policy.lending)
    : { lent: false };
  if ('wrong' in lending) return { state: 'reject', reason: `caddis: ${lending.wrong}` };
  const queues = chooseQueues(submission, lending, policy.defaultQueue);
  const moved = hard.has('h_vmem') || lending.lent;
  if (memorySource !== undefined && !hard.has(memoryConsumable) && moved)
    hard.set(memoryConsumable, hard.get(memorySource) as string);
  hard.delete('h_vmem');
  if (lending.lent) {
    hard.delete(memoryConsumable);
    for (const [name, value] of Object.entries(lending.hard)) hard.set(name, value);
  }
  return {
    state: 'correct',
    hard: moved ? hard : undefined,
    checkpointEnvironment: chooseEnvironment({ ...submission, queues: queues ?? submission.queues }, policy),
    queues,
    advice: advise(submission, policy),
    // All of them always, also when nothing was asked: else `qsub -v CADDIS_MEM=...` would give itself memory.
    env: {
      CADDIS_MEM: memory.text,
      CADDIS_TMP: scratch.text,
      CADDIS_DEVICES: devices(hard, policy.deviceComplexes),
    },
  };
}

interface Amount {
  /** For the prolog. */
  readonly text: string;
  /** Undefined: not asked for. */
  readonly amount: { readonly bytes: number; readonly words: string } | undefined;
}

function readAmount(
  hard: ReadonlyMap<string, string>,
  name: string | undefined,
): Amount | { readonly wrong: string } {
  if (name === undefined) return { text: '0 none', amount: undefined };
  const asked = hard.get(name) ?? '';
  const bytes = parseMemory(asked);
  if (bytes === undefined || bytes < 1)
    return { wrong: `caddis: -l ${name}=${asked} is no size: write for example ${name}=2G` };
  return { text: `${bytes} ${name}=${asked}`, amount: { bytes, words: asked } };
}

function chooseQueues(
  { queues }: Submission,
  lending: Lending,
  defaultQueue: string | undefined,
): readonly string[] | undefined {
  if (lending.lent) return lending.queues;
  return queues.length > 0 || defaultQueue === undefined ? undefined : [defaultQueue];
}

function advise({ parallelEnvironment: name }: Submission, { spreading }: JsvPolicy): string | undefined {
  if (name === undefined || !spreading.has(name)) return undefined;
  return `caddis: -pe ${name} may spread this job over several hosts, whose machines cannot be saved as one: if it is moved it starts afresh`;
}

/**
 * A user's own choice stays; a job that may not run twice (`-r n`) cannot be moved. One with `-notify` that is to stand still when it is suspended gets none: sge_shepherd 8.1.9 has one
 * alarm for the notice's end and the next checkpoint, and would never suspend it.
 */
function chooseEnvironment(
  submission: Submission,
  { checkpointEnvironments, movingEnvironments }: JsvPolicy,
): string | undefined {
  const { checkpointEnvironment, rerun, interactive, notify } = submission;
  if (checkpointEnvironment !== undefined || rerun === 'n' || interactive) return undefined;
  const chosen = environmentOfQueues(submission, checkpointEnvironments);
  return notify && chosen !== undefined && !movingEnvironments.has(chosen) ? undefined : chosen;
}

function environmentOfQueues(
  { queues }: Submission,
  environments: JsvPolicy['checkpointEnvironments'],
): string | undefined {
  if (queues.length === 0) return environments.get('*');
  const chosen = new Set(queues.map((queue) => environments.get(queue.split('@')[0] as string)));
  // Queues that differ: the job would not run in those that do not know the environment.
  return chosen.size === 1 ? [...chosen][0] : undefined;
}

/** `gpu=1`: what the job asks of the host's devices; `none`. */
function devices(hard: ReadonlyMap<string, string>, complexes: readonly string[]): string {
  const asked = complexes.filter((name) => hard.has(name) && !/^(0+|FALSE)$/i.test(hard.get(name) ?? ''));
  return asked.map((name) => `${name}=${hard.get(name)}`).join(',') || 'none';
}

function isLimit(value: string | undefined): boolean {
  return value !== undefined && !/^infinity$/i.test(value);
}
