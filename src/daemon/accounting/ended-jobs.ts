import { appendFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

import * as z from 'zod';

import type { EndedJob } from '../../model/usage.ts';

const recordSchema = z.object({
  job: z.string(),
  job_name: z.string(),
  user: z.string(),
  uid: z.number(),
  queue: z.string(),
  ended_at: z.string(),
  wall_seconds: z.number(),
  cpus: z.number(),
  cpu_seconds: z.number(),
  cpu_efficiency: z.number(),
  host_cpu_seconds: z.number(),
  memory_limit_bytes: z.number(),
  memory_asked: z.string().nullable(),
  memory_held_peak_bytes: z.number(),
  memory_peak_bytes: z.number(),
  oom_kills: z.number(),
});

/** The last jobs that ended on this node, a JSON object a line, oldest first. Root's alone: users ask caddisd, which tells each of its own jobs. */
export class EndedJobs {
  readonly #path: string;
  readonly #keep: number;
  /** Lines in the file; undefined: not yet read. */
  #lines: number | undefined;
  #work: Promise<unknown> = Promise.resolve();

  /** Between `keep` and twice as many are kept. */
  constructor(path: string, keep: number) {
    this.#path = path;
    this.#keep = keep;
  }

  add(job: EndedJob): Promise<void> {
    const done = this.#work.then(() => this.#add(job));
    this.#work = done.catch(() => undefined);
    return done;
  }

  /** Newest first. A line that was torn by a crash is passed over. */
  async last(most: number, isWanted: (job: EndedJob) => boolean): Promise<EndedJob[]> {
    await this.#work;
    const found: EndedJob[] = [];
    for (const line of (await this.#read()).reverse()) {
      const job = parse(line);
      if (job && isWanted(job)) found.push(job);
      if (found.length >= most) break;
    }
    return found;
  }

  /** Who has jobs in here. */
  async users(): Promise<Set<number>> {
    const jobs = (await this.#read()).map(parse);
    return new Set(jobs.flatMap((job) => (job ? [job.uid] : [])));
  }

  async #add(job: EndedJob): Promise<void> {
    if (this.#lines === undefined) {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
      const text = await this.#text();
      this.#lines = linesOf(text).length;
      // A line that was torn by a crash does not take the next one with it.
      if (text !== '' && !text.endsWith('\n')) await appendFile(this.#path, '\n');
    }
    if (this.#lines >= 2 * this.#keep) {
      const kept = (await this.#read()).slice(-this.#keep);
      const text = kept.map((line) => `${line}\n`).join('');
      // On disk before it takes the other's place: after a crash there is one of the two.
      await writeFile(`${this.#path}.new`, text, { mode: 0o600, flush: true });
      await rename(`${this.#path}.new`, this.#path);
      this.#lines = kept.length;
    }
    await appendFile(this.#path, `${JSON.stringify(job)}\n`, { mode: 0o600 });
    this.#lines += 1;
  }

  async #read(): Promise<string[]> {
    return linesOf(await this.#text());
  }

  #text(): Promise<string> {
    return readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      throw error;
    });
  }
}

function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

function parse(line: string): EndedJob | undefined {
  try {
    return recordSchema.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
