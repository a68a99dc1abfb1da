import { asUser, type BatchSystem } from '../../integration/support/batch.ts';
import { nodeTroubles, untilNoTrouble } from '../../integration/support/faults.ts';
import type { Lab } from '../../lab/host.ts';
import { startLibvirtd } from '../../lab/libvirt.ts';
import { until } from '../../lab/process.ts';
import { type Tally, Violation } from '../fault.ts';
import { type CountingJob, finish, progressOf, submitCounter } from './counting-job.ts';
import type { Fired, Rule, Traced } from './rules.ts';
import { describe, look, type Machine, type Sight } from './sight.ts';
import type { WatchedHost } from './watched-host.ts';

/** systemd's RestartSec of caddisd.service. */
const BACK_AFTER_MS = 1_000;
/** From the request to the job counting again, restarts and waits for leases included. */
const MOVE_MS = 100_000;
const LOOK_EVERY_MS = 500;
/** Grid Engine has no count of restarts: a job that did not move at all is taken as it is after this long. */
const UNMOVED_MS = 8_000;

/** Something that goes wrong at a point of a job's save or restore. */
export interface Variant {
  readonly kind: string;
  /** What `besides` does, in words. */
  readonly what?: string;
  readonly side: 'save' | 'restore';
  readonly point: string;
  readonly nth: number;
  readonly act: Rule['act'];
  readonly delayMs: number;
  /** caddisd comes back after so long; default BACK_AFTER_MS. */
  readonly backAfterMs?: number;
  /** The job must go on from where it was: a fresh start, whatever the reason, loses a good state. */
  readonly keeps: boolean;
  /** What was saved must not be restored: a job that went on has gone on from something damaged. */
  readonly loses?: boolean;
  /** What else is done when the point is reached; a rule that holds is let go when it is done. What it resolves with is waited for at the end of the move. */
  readonly besides?: (
    host: WatchedHost,
    job: CountingJob,
  ) => Promise<{ readonly over: Promise<void> } | undefined>;
}

interface Placed {
  readonly job: CountingJob;
  readonly from: WatchedHost;
  readonly to: WatchedHost;
  readonly variant: Variant | undefined;
}

interface Outcome {
  readonly kind: string;
  readonly text: string;
  readonly wrong: string | undefined;
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
  #rules = 0;

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
      return Array.from({ length: Math.max(0, perSystem - there) }, () => system);
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

  /**
   * Moves every job once. A variant meets one job each: `variants` gives the next one for a job of this system, or none. Returns those whose point was never reached.
   */
  async move(next: (system: BatchSystem, side: Variant['side']) => Variant | undefined): Promise<Variant[]> {
    const begun = Date.now();
    const logs = new Map(this.hosts.map((host) => [host, host.logBytes]));
    const sights = await look(this.lab, this.jobs);
    const before = new Map(
      await Promise.all(this.jobs.map(async (job) => [job, await progressOf(job)] as const)),
    );
    const placed = this.#place(sights, next);
    const armed = await this.#arm(placed, sights);
    const watching = new AbortController();
    const events = armed.map((one) => this.#watch(one, watching.signal));
    const settled = await this.#carryOut(placed, sights, before, begun);
    watching.abort();
    const fired = await Promise.all(events);
    for (const host of this.hosts) await host.setRules([]);
    await this.#health(begun);

    const outcomes: Outcome[] = [];
    for (const { job, from, to } of placed) {
      const hit = armed.flatMap((one, index) =>
        one.job === job && fired[index] ? [{ ...one, at: fired[index] as Fired }] : [],
      );
      const beside = armed.flatMap((one, index) => {
        const at = fired[index];
        if (!at || one.job === job || !/^kill-(caddisd|libvirtd)$/.test(one.variant.act)) return [];
        const point = this.#lastPoint(one.host, job, sights.get(job)?.machines ?? [], begun, at.at);
        return point === undefined ? [] : [{ one, point, side: one.host === from ? 'save' : 'restore' }];
      });
      const verdict = await this.#judge(
        job,
        before.get(job)?.runs.length ?? 0,
        logs,
        hit.some(({ variant }) => variant.keeps),
      );
      const damaged =
        hit.some(({ variant }) => variant.loses) && verdict.wrong === undefined && !verdict.afresh;
      const wrong =
        settled.get(job) ??
        verdict.wrong ??
        (damaged ? 'it went on from a checkpoint that was damaged' : undefined);
      const texts = [
        ...hit.map(({ variant }) => [variant.kind, wordsOf(variant)] as const),
        ...beside.map(
          ({ one, point, side }) =>
            [
              `beside: ${one.variant.kind.replace(/(saved|restored)$/, side === 'save' ? 'saved' : 'restored')}`,
              `${one.variant.act} when it was at "${point}"`,
            ] as const,
        ),
      ];
      if (texts.length === 0 && wrong === undefined && !verdict.afresh) {
        const machines = sights.get(job)?.machines ?? [];
        this.learnt.push({ side: 'save', steps: this.#steps(from, job, machines, begun) });
        this.learnt.push({ side: 'restore', steps: this.#steps(to, job, machines, begun) });
      }
      if (texts.length === 0 && wrong !== undefined) texts.push(['undisturbed moves', 'no fault']);
      for (const [kind, text] of texts)
        outcomes.push({
          kind,
          text: `${job.key} ${from.host.name} -> ${to.host.name}, ${new Date(begun).toISOString()}: ${text}`,
          wrong,
        });
      this.#say(
        `${job.key} ${from.host.name}->${to.host.name} [${texts.map(([, text]) => text).join('; ')}] ${wrong ?? verdict.what} (${((Date.now() - begun) / 1000).toFixed(1)} s)`,
      );
      if (wrong !== undefined || verdict.spoilt) await this.#replace(job);
    }
    for (const { kind, text, wrong } of outcomes)
      await this.#tally.variant(kind, text, async () => {
        if (wrong !== undefined) throw new Violation(wrong);
      });
    return armed.filter((_, index) => !fired[index]).map(({ variant }) => variant);
  }

  /** Where each job is and goes to. Grid Engine's go one way at a time, since its queue instances say where. */
  #place(
    sights: ReadonlyMap<CountingJob, Sight>,
    next: (system: BatchSystem, side: Variant['side']) => Variant | undefined,
  ): Placed[] {
    const placed: Placed[] = [];
    const ways = new Map<BatchSystem, WatchedHost>();
    for (const job of this.jobs) {
      const at = sights.get(job)?.machines.find(({ phase }) => phase === 'running')?.host;
      const from = this.hosts.find(({ host }) => host.name === at);
      if (!from) continue;
      const way = job.system === 'gridengine' ? (ways.get(job.system) ?? from) : from;
      if (way !== from) continue;
      const first = !ways.has(job.system);
      ways.set(job.system, way);
      const to = this.hosts[from === this.hosts[0] ? 1 : 0];
      placed.push({ job, from, to, variant: first ? next(job.system, 'save') : next(job.system, 'restore') });
    }
    return placed;
  }

  async #arm(placed: readonly Placed[], sights: ReadonlyMap<CountingJob, Sight>) {
    const armed = placed.flatMap(({ job, from, to, variant }) => {
      if (!variant) return [];
      const machine = sights.get(job)?.machines.at(-1)?.machine ?? job.key;
      const { point, nth, act, delayMs } = variant;
      const id = `${++this.#rules}`;
      const rule: Rule = { id, needles: needlesOf(job, [machine]), point, nth, act, delayMs };
      return [{ job, variant, rule, host: variant.side === 'save' ? from : to }];
    });
    for (const host of this.hosts)
      await host.setRules(armed.filter((one) => one.host === host).map(({ rule }) => rule));
    return armed;
  }

  /** Waits for one rule, and does what follows from it. */
  async #watch(
    { rule, host, variant, job }: { rule: Rule; host: WatchedHost; variant: Variant; job: CountingJob },
    signal: AbortSignal,
  ): Promise<Fired | undefined> {
    for (;;) {
      const fired = host.fired().find(({ id }) => id === rule.id);
      if (fired) {
        await this.#follow(host, rule, variant, job);
        return fired;
      }
      if (signal.aborted) return undefined;
      await pause(10);
    }
  }

  async #follow(host: WatchedHost, rule: Rule, variant: Variant, job: CountingJob): Promise<void> {
    await host.drop(rule.id);
    const more = await variant.besides?.(host, job);
    switch (rule.act) {
      case 'kill-caddisd':
        await pause(variant.backAfterMs ?? BACK_AFTER_MS);
        await host.restart();
        break;
      case 'kill-libvirtd':
        await pause(variant.backAfterMs ?? BACK_AFTER_MS);
        await startLibvirtd(host.host);
        break;
      case 'hold':
        await host.release(rule.id);
        break;
    }
    await more?.over;
  }

  /** Asks for the moves, and waits until each job counts again, wherever. What is wrong with those that do not. */
  async #carryOut(
    placed: readonly Placed[],
    sights: ReadonlyMap<CountingJob, Sight>,
    before: ReadonlyMap<CountingJob, Awaited<ReturnType<typeof progressOf>>>,
    begun: number,
  ): Promise<Map<CountingJob, string>> {
    const root = { user: 'root' };
    const from = placed.find(({ job }) => job.system === 'gridengine')?.from.host.name;
    if (from !== undefined) await asUser(this.lab, ['qmod', '-d', `move.q@${from}`], root);
    await Promise.all(
      placed.map(({ job }) =>
        asUser(
          this.lab,
          job.system === 'slurm' ? ['scontrol', 'requeue', job.id] : ['qmod', '-sj', job.id],
          root,
        ),
      ),
    );
    const open = new Map(placed.map((one) => [one.job, one]));
    const seenRunning = new Map<CountingJob, number>();
    const steered = new Map<CountingJob, number>();
    const wrong = new Map<CountingJob, string>();
    let last = new Map<CountingJob, Sight>();
    while (open.size > 0 && Date.now() - begun < MOVE_MS) {
      await pause(LOOK_EVERY_MS);
      last = await look(this.lab, [...open.keys()]);
      for (const [job, { to }] of open) {
        const sight = last.get(job) as Sight;
        if (/^E|Held/.test(`${sight.state}${sight.reason}`)) {
          wrong.set(job, `it is held or in error: ${describe(sight)}`);
          open.delete(job);
          continue;
        }
        if (sight.state === 'PENDING' && Date.now() - (steered.get(job) ?? 0) > 3_000) {
          steered.set(job, Date.now());
          await asUser(
            this.lab,
            ['scontrol', 'update', `jobid=${job.id}`, `reqnodelist=${to.host.name}`, 'StartTime=now'],
            root,
          );
        }
        const running = sight.machines.find(({ phase }) => phase === 'running');
        const known = sights.get(job)?.machines.map(({ incarnation }) => incarnation) ?? [];
        const moved = running !== undefined && !known.includes(running.incarnation);
        const asItWas =
          running !== undefined && job.system === 'gridengine' && Date.now() - begun > UNMOVED_MS;
        if (!running || !(moved || asItWas) || !/^(RUNNING|r|Rr|hr)$/.test(sight.state)) {
          seenRunning.delete(job);
          continue;
        }
        const { runs, wrong: broken } = await progressOf(job);
        const lines = runs.reduce((sum, run) => sum + run.lines, 0);
        if (broken !== undefined) open.delete(job);
        else if (!seenRunning.has(job)) seenRunning.set(job, lines);
        else if (lines >= (seenRunning.get(job) ?? 0) + 2) open.delete(job);
      }
    }
    for (const job of open.keys()) {
      const sight = last.get(job);
      const lines = before.get(job)?.runs.at(-1)?.lines;
      wrong.set(
        job,
        `stuck for ${MOVE_MS / 1000} s (it had counted to ${lines}): ${sight ? describe(sight) : 'never seen'}`,
      );
    }
    if (from !== undefined) await asUser(this.lab, ['qmod', '-e', `move.q@${from}`], root);
    return wrong;
  }

  /** What became of a job by its own lines and the nodes' logs. */
  async #judge(
    job: CountingJob,
    runsBefore: number,
    logs: ReadonlyMap<WatchedHost, number>,
    keeps: boolean,
  ): Promise<{ wrong: string | undefined; what: string; spoilt: boolean; afresh: boolean }> {
    const { runs, wrong } = await progressOf(job);
    if (wrong !== undefined)
      return { wrong: `beats: ${wrong}${this.#excerpt(job, logs)}`, what: '', spoilt: true, afresh: false };
    if (runs.length <= runsBefore) {
      this.#tally.count('went on');
      return { wrong: undefined, what: 'went on', spoilt: false, afresh: false };
    }
    const reason = this.#reason(job, logs);
    if (reason === undefined)
      return {
        wrong: `it started afresh and no log says why${this.#excerpt(job, logs)}`,
        what: '',
        spoilt: true,
        afresh: true,
      };
    if (keeps)
      return {
        wrong: `its state was lost: ${reason}${this.#excerpt(job, logs)}`,
        what: '',
        spoilt: false,
        afresh: true,
      };
    this.#tally.count('started afresh with a reason');
    return { wrong: undefined, what: `started afresh: ${reason}`, spoilt: false, afresh: true };
  }

  /** The line that tells an admin why a job starts afresh. */
  #reason(job: CountingJob, logs: ReadonlyMap<WatchedHost, number>): string | undefined {
    for (const host of this.hosts)
      for (const line of linesOf(host, job, logs)) if (REASON.test(line)) return line.replace(/^\S+ /, '');
    return undefined;
  }

  #excerpt(job: CountingJob, logs: ReadonlyMap<WatchedHost, number>): string {
    return this.hosts
      .map((host) => `\n  -- ${host.host.name}:\n  ${linesOf(host, job, logs).slice(-30).join('\n  ')}`)
      .join('');
  }

  /** The last step that this host had done for a job when something was killed there; undefined when it was in the middle of nothing. */
  #lastPoint(
    host: WatchedHost,
    job: CountingJob,
    machines: readonly Machine[],
    begun: number,
    at: number,
  ): string | undefined {
    const last = this.#steps(host, job, machines, begun)
      .filter((step) => step.at <= at)
      .at(-1)?.point;
    return last === undefined || /^(fsync claims|rename link)$/.test(last) ? undefined : last;
  }

  /** What a host has done for a job since then. */
  #steps(host: WatchedHost, job: CountingJob, machines: readonly Machine[], since: number): Traced[] {
    const needles = needlesOf(
      job,
      machines.map(({ machine }) => machine),
    );
    return host.trace(since).filter(({ text }) => needles.some((needle) => text.includes(needle)));
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

const REASON =
  /(warn|error) .*(could not be saved|passed over|refused|machine lost|no machine for|ending|starts afresh|does not know)/;

function linesOf(host: WatchedHost, { key }: CountingJob, logs: ReadonlyMap<WatchedHost, number>): string[] {
  const own = new RegExp(`${key.replace('.', '\\.')}\\b`);
  return host
    .log(logs.get(host))
    .split('\n')
    .filter((line) => own.test(line));
}

/** A key is found in paths only as a whole: `slurm-1` is no part of `slurm-11`. */
function needlesOf({ key }: CountingJob, machines: readonly string[]): string[] {
  return [
    `${key}/`,
    `${key}.`,
    `${key} `,
    ...machines.flatMap((machine) => [machine, `cad-${machine.slice(-10)}`]),
  ];
}

function wordsOf({ act, what, point, nth, delayMs }: Variant): string {
  return `${what ?? act}${delayMs > 0 ? ` ${delayMs} ms` : ''} after "${point}"${nth > 1 ? ` (${nth})` : ''}`;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
