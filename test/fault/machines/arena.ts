import { asUser, type BatchSystem } from '../../integration/support/batch.ts';
import { nodeTroubles, untilNoTrouble } from '../../integration/support/faults.ts';
import type { Lab } from '../../lab/host.ts';
import { until } from '../../lab/process.ts';
import { type Tally, Violation } from '../fault.ts';
import { type Armed, arm, watch } from './armed.ts';
import { type CountingJob, finish, progressOf, submitCounter } from './counting-job.ts';
import { lastPoint, stepsOf } from './job-steps.ts';
import { carryOut, MOVE_MS } from './moves.ts';
import { type NextVariant, type Placed, place } from './placed.ts';
import type { Fired, Traced } from './rules.ts';
import { look, type Sight } from './sight.ts';
import { type Variant, wordsOf } from './variant.ts';
import { excerpt, judge, type LogMarks, type Verdict } from './verdict.ts';
import type { WatchedHost } from './watched-host.ts';

/** A variant that met a job, or a kill meant for another job that this one was hit by too. */
interface Hit {
  readonly kind: string;
  readonly text: string;
  /** The job must have gone on from where it was all the same. */
  readonly keeps: boolean;
  readonly variant?: Variant;
}

/** What the jobs were like when a move began. */
interface Before {
  readonly begun: number;
  readonly logs: LogMarks;
  readonly sights: ReadonlyMap<CountingJob, Sight>;
  readonly runs: ReadonlyMap<CountingJob, number>;
}

/** Jobs that count on two hosts, which are moved to and fro while things go wrong. */
export class Arena {
  readonly lab: Lab;
  readonly hosts: readonly [WatchedHost, WatchedHost];
  readonly #tally: Tally;
  readonly #say: (line: string) => void;
  jobs: CountingJob[] = [];
  /** The steps of every save and restore that nothing disturbed. */
  readonly learnt: { readonly side: Variant['side']; readonly steps: readonly Traced[] }[] = [];

  constructor(
    lab: Lab,
    hosts: readonly [WatchedHost, WatchedHost],
    tally: Tally,
    say: (line: string) => void,
  ) {
    this.lab = lab;
    this.hosts = hosts;
    this.#tally = tally;
    this.#say = say;
  }

  /** Submits `perSystem` jobs of each scheduler, and waits until they count. */
  async fill(perSystem: number): Promise<void> {
    const [one, two] = this.hosts;
    const missing = (['slurm', 'gridengine'] as const).flatMap((system) => {
      const there = this.jobs.filter((job) => job.system === system).length;
      return Array.from({ length: Math.max(0, perSystem - there) }, (): BatchSystem => system);
    });
    const fresh = await Promise.all(
      missing.map((system) => submitCounter(this.lab, system, (system === 'slurm' ? one : two).host)),
    );
    this.jobs.push(...fresh);
    await Promise.all(
      fresh.map((job) =>
        until(`${job.key} to count`, async () => ((await progressOf(job)).runs.at(-1)?.lines ?? 0) >= 2, {
          timeoutMs: MOVE_MS,
          everyMs: 300,
        }),
      ),
    );
  }

  /** Lets all jobs end, and judges what they leave. */
  async empty(): Promise<void> {
    await Promise.all(
      this.jobs.map((job) =>
        this.#tally.variant('jobs at their end', `${job.key} in ${job.directory}`, async () => {
          const wrong = await finish(this.lab, job);
          if (wrong !== undefined) throw new Violation(wrong);
        }),
      ),
    );
    this.jobs = [];
  }

  /** Moves every job once, each under the variant that `next` gives for it, if any. Returns the variants whose point was never reached. */
  async move(next: NextVariant): Promise<Variant[]> {
    const before = await this.#before();
    const placed = place(this.jobs, this.hosts, before.sights, next);
    const armed = await arm(this.hosts, placed, before.sights);
    const watching = new AbortController();
    const events = armed.map((one) => watch(one, watching.signal));
    const unsettled = await carryOut(this.lab, placed, before.sights, before.begun);
    watching.abort();
    const fired = await Promise.all(events);
    for (const host of this.hosts) await host.setRules([]);
    await this.#health(before.begun);
    for (const one of placed) await this.#settle(one, before, armed, fired, unsettled.get(one.job));
    return armed.filter((_, index) => !fired[index]).map(({ variant }) => variant);
  }

  async #before(): Promise<Before> {
    const runs = this.jobs.map(async (job) => [job, (await progressOf(job)).runs.length] as const);
    return {
      begun: Date.now(),
      logs: new Map(this.hosts.map((host) => [host, host.logBytes])),
      sights: await look(this.lab, this.jobs),
      runs: new Map(await Promise.all(runs)),
    };
  }

  /** Judges one job of a move, and enters it under everything that it met. */
  async #settle(
    placed: Placed,
    before: Before,
    armed: readonly Armed[],
    fired: readonly (Fired | undefined)[],
    unsettled: string | undefined,
  ): Promise<void> {
    const { job, from, to } = placed;
    const hits = this.#hits(placed, before, armed, fired);
    const keeps = hits.every((hit) => hit.keeps);
    const verdict = await judge(job, before.runs.get(job) ?? 0, before.logs, keeps);
    const wrong = wrongOf(verdict, hits, unsettled && `${unsettled}${excerpt(job, before.logs)}`);
    if (wrong === undefined) this.#tally.count(verdict.afresh ? 'started afresh with a reason' : 'went on');
    if (hits.length === 0 && wrong === undefined && !verdict.afresh) this.#learn(placed, before);
    if (hits.length === 0 && wrong !== undefined)
      hits.push({ kind: 'undisturbed moves', text: 'no fault', keeps: true });
    const way = `${job.key} ${from.host.name} -> ${to.host.name}`;
    for (const { kind, text } of hits)
      await this.#tally.variant(
        kind,
        `${way}, ${new Date(before.begun).toISOString()}: ${text}`,
        async () => {
          if (wrong !== undefined) throw new Violation(wrong);
        },
      );
    const seconds = ((Date.now() - before.begun) / 1000).toFixed(1);
    this.#say(`${way} [${hits.map(({ text }) => text).join('; ')}] ${wrong ?? verdict.what} (${seconds} s)`);
    if (wrong !== undefined || verdict.spoilt) await this.#replace(job);
  }

  /** Its own variant, and what hit it because it was on the same host as another's. */
  #hits(
    { job, from, to }: Placed,
    { begun, sights }: Before,
    armed: readonly Armed[],
    fired: readonly (Fired | undefined)[],
  ): Hit[] {
    return armed.flatMap((one, index): Hit[] => {
      const { variant, host } = one;
      const at = fired[index];
      if (!at) return [];
      const { keeps } = variant;
      if (one.job === job) return [{ kind: variant.kind, text: wordsOf(variant), keeps, variant }];
      if (variant.act === 'hold' && !keeps && !variant.loses && (host === from || host === to))
        return [{ kind: `beside: ${variant.kind}`, text: wordsOf(variant), keeps }];
      if (!/^kill-(caddisd|libvirtd)$/.test(variant.act)) return [];
      const point = lastPoint(host, job, sights.get(job)?.machines ?? [], begun, at.at);
      if (point === undefined) return [];
      const done = host === from ? 'saved' : 'restored';
      const kind = `beside: ${variant.kind.replace(/(saved|restored)$/, done)}`;
      return [{ kind, text: `${variant.act} when it was at "${point}"`, keeps: true }];
    });
  }

  #learn({ job, from, to }: Placed, { begun, sights }: Before): void {
    const machines = sights.get(job)?.machines ?? [];
    this.learnt.push({ side: 'save', steps: stepsOf(from, job, machines, begun) });
    this.learnt.push({ side: 'restore', steps: stepsOf(to, job, machines, begun) });
  }

  /** Nodes that are out of service must say why in our name, and come back by themselves; a queue in E is never right. */
  async #health(begun: number): Promise<void> {
    const troubles = await nodeTroubles(this.lab);
    const foreign = troubles.filter((line) => !/caddis:/.test(line) && !/\s[au]+\s*$/.test(line));
    if (foreign.length > 0)
      await this.#tally.variant('nodes in service', new Date(begun).toISOString(), async () => {
        throw new Violation(`not by us, or not with our reason: ${foreign.join('; ')}`);
      });
    if (troubles.length > 0) await untilNoTrouble(this.lab, 90_000);
  }

  async #replace(job: CountingJob): Promise<void> {
    this.jobs = this.jobs.filter((other) => other !== job);
    await asUser(this.lab, job.system === 'slurm' ? ['scancel', job.id] : ['qdel', job.id], { user: 'root' });
  }
}

function wrongOf(verdict: Verdict, hits: readonly Hit[], unsettled: string | undefined): string | undefined {
  if (unsettled !== undefined) return unsettled;
  if (verdict.wrong !== undefined) return verdict.wrong;
  const isDamaged = hits.some(({ variant }) => variant?.loses);
  return isDamaged && !verdict.afresh ? 'it went on from a checkpoint that was damaged' : undefined;
}
