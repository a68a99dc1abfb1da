import { cpusToAsk, memoryToAsk } from '../../jobs/advice.ts';
import { CaddisError } from '../../model/errors.ts';
import { parseKey } from '../../model/job.ts';
import type { AdvisedJob, EndedJob } from '../../model/usage.ts';
import type { Node } from '../node.ts';

const MOST = 100_000;

/**
 * The last jobs that ended here and what to ask for instead, newest first. `uid`: whose jobs alone may be told; undefined: root asks. `words`: a user or `-`, and how many jobs.
 * Throws CaddisError for another user's jobs.
 */
export async function advise(
  node: Node,
  { uid, words }: { readonly uid: number | undefined; readonly words: readonly string[] },
): Promise<AdvisedJob[]> {
  const [user = '-', last = '20'] = words;
  const most = Number(last);
  if (!Number.isInteger(most) || most < 1 || most > MOST)
    throw new CaddisError(`--last: expected a number from 1 to ${MOST}, got "${last}"`);
  const isWanted = (job: EndedJob) =>
    (uid === undefined || job.uid === uid) && (user === '-' || job.user === user);
  const jobs = await node.accounts.jobs.last(most, isWanted);
  if (jobs.length === 0 && uid !== undefined && user !== '-' && (await isAnother(node, uid, user)))
    throw new CaddisError(`only root sees the jobs of ${user}: leave the name out for your own`);
  return jobs.map((job) => ({ ...job, ...adviceOn(node, job) }));
}

async function isAnother(node: Node, uid: number, user: string): Promise<boolean> {
  const [own] = await node.accounts.jobs.last(1, (job) => job.uid === uid);
  return own?.user !== user;
}

function adviceOn(node: Node, job: EndedJob): Pick<AdvisedJob, 'ask_memory_bytes' | 'ask_cpus' | 'ask'> {
  const key = parseKey(job.job);
  const scheduler = key && node.schedulers.get(key.scheduler);
  const bytes = memoryToAsk(job);
  const cpus = cpusToAsk(job);
  const words = [
    scheduler?.askMemory(bytes, job.memory_asked ?? undefined, cpus ?? job.cpus),
    cpus === undefined ? undefined : scheduler?.askCpus(cpus),
  ];
  return {
    ask_memory_bytes: bytes,
    ask_cpus: cpus ?? job.cpus,
    ask: words.filter((word) => word !== undefined).join(' '),
  };
}
