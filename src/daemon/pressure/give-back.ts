import { setTimeout as sleep } from 'node:timers/promises';

import { messageOf } from '../../model/errors.ts';
import type { BorrowerExplained, Explanation } from '../../model/explain.ts';
import { formatKey } from '../../model/job.ts';
import { formatBytes } from '../../model/units.ts';
import { type Act, giveBack, type Verdict } from '../../pressure/give-back.ts';
import { cpuNeed } from '../../pressure/give-back-cpu.ts';
import { ownersSituation } from '../../pressure/give-back-situation.ts';
import type { NodeLoad } from '../../pressure/node.ts';
import type { Victim } from '../../pressure/victims.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { migrate } from '../verbs/migrate.ts';
import { Borrower } from './borrower.ts';
import { LEAST_WEIGHT, LOW_WEIGHT, ORDINARY_WEIGHT } from './give-way.ts';
import { isBorrower } from './lending.ts';
import { StoreWatch } from './store-watch.ts';
import { VcpuWatch } from './vcpu-watch.ts';
import type { NodeView } from './view.ts';

/** How long the end of an eviction is waited for, to say what it took. */
const GONE_WITHIN_MS = 120_000;
const LOOK_EVERY_MS = 50;
const AWAKE = new Set(['ready', 'running']);

/** Carries out what the policy decides at each look at the node, and keeps the reasons. */
export class GiveBack {
  readonly #node: Node;
  readonly #borrowers = new Map<Job, Borrower>();
  readonly #store: StoreWatch;
  readonly #vcpus: VcpuWatch;
  #verdict: (Verdict & { readonly at: string; readonly victims: readonly Victim[] }) | undefined;
  #calmSinceMs: number | undefined;

  /** `lookSoon` has the node looked at before the next second is over. */
  constructor(node: Node, lookSoon: () => void) {
    this.#node = node;
    this.#store = new StoreWatch(node);
    this.#vcpus = new VcpuWatch(() => this.#owners(), lookSoon);
  }

  /** Somebody runs in what others have reserved. */
  get isLending(): boolean {
    return this.#borrowers.size > 0;
  }

  /** Why a borrower that starts now would have no CPU, if so. */
  get whyNoCpus(): string | undefined {
    const { view } = this.#node;
    const { cpu } = view ? ownersSituation(view.load) : {};
    const need = cpu && cpuNeed(cpu, []);
    return need?.hasRoom === false ? need.why : undefined;
  }

  look(view: NodeView): void {
    const nowMs = performance.now();
    const pairs = this.#pairs(view);
    const victims = pairs.map(([borrower, seen]) =>
      borrower.victim(this.#node, seen, formatKey(borrower.job.key), nowMs),
    );
    const parked = view.jobs.filter(({ job }) => job.state.phase === 'parked' && job.resources.domain);
    this.#vcpus.run(victims.length > 0);
    if (victims.length > 0)
      this.#store.keepFresh(Math.max(...victims.map(({ residentBytes }) => residentBytes)));
    const verdict = giveBack({
      nowMs,
      ...ownersSituation(this.#withVcpus(view)),
      borrowers: victims,
      parked: parked.map(({ job, usage }) => ({
        job: formatKey(job.key),
        residentBytes: usage?.residentBytes ?? 0,
      })),
      bandwidth: { save: this.#node.saves.bytesPerSecond },
      storeTrouble: this.#store.trouble,
      evictAfterMs: this.#node.config.pressure.evict_after * 1000,
      calmSinceMs: this.#calmSinceMs,
    });
    this.#calmSinceMs = verdict.calmSinceMs;
    this.#verdict = { ...verdict, at: new Date().toISOString(), victims };
    for (const [job, acts] of byJob(verdict.acts)) {
      const borrower = pairs.find(([one]) => formatKey(one.job.key) === job)?.[0];
      if (borrower) void this.#carryOut(borrower, acts);
      else for (const one of parked) if (formatKey(one.job.key) === job) void this.#endParked(one.job, acts);
    }
  }

  stop(): void {
    this.#vcpus.stop();
  }

  #owners(): readonly Job[] {
    return this.#node.jobs.all().filter((job) => !isBorrower(this.#node, job) && AWAKE.has(job.state.phase));
  }

  /** What the host's kernel says of an owner's vCPUs counts where it is more. */
  #withVcpus({ load, jobs }: NodeView): NodeLoad {
    return {
      ...load,
      jobs: load.jobs.map((one, i) => {
        const job = jobs[i]?.job;
        if (!job || !one.usage || one.isBorrower) return one;
        const cpuDemandNow = Math.max(one.usage.cpuDemandNow, this.#vcpus.wantedBy(job));
        return { ...one, usage: { ...one.usage, cpuDemandNow } };
      }),
    };
  }

  /** `job`: undefined for all of this node. */
  async explain(host: string, job: string | undefined): Promise<Explanation> {
    const verdict = this.#verdict;
    const isWanted = (victim: Victim) => job === undefined || victim.job === job;
    return {
      host,
      ...(job === undefined ? {} : { job }),
      now: verdict
        ? {
            ...{ at: verdict.at, why: verdict.why, numbers: verdict.numbers },
            save_bytes_per_second: Math.round(this.#node.saves.bytesPerSecond),
            store_trouble: this.#store.trouble ?? null,
          }
        : null,
      borrowers: verdict?.victims.filter(isWanted).map((victim) => this.#explained(victim)) ?? [],
      history: await this.#node.deeds.all(job),
    };
  }

  #explained(victim: Victim): BorrowerExplained {
    const borrower = [...this.#borrowers.values()].find(({ job }) => formatKey(job.key) === victim.job);
    return {
      ...{ job: victim.job, phase: borrower?.job.state.phase ?? 'gone', standing: victim.standing },
      ...{ weight: victim.weight, resident_bytes: victim.residentBytes, balloon_bytes: victim.balloonBytes },
      ...{ reclaimable_bytes: victim.reclaimableBytes, priority: victim.priority ?? null },
      unsavable: victim.unsavable ?? null,
    };
  }

  /** Borrowers with what was seen of them; those that are new are asked about. */
  #pairs(view: NodeView): [Borrower, NodeView['jobs'][number]][] {
    const present = new Set(view.jobs.map(({ job }) => job));
    for (const job of this.#borrowers.keys()) if (!present.has(job)) this.#borrowers.delete(job);
    return view.jobs.flatMap((seen): [Borrower, NodeView['jobs'][number]][] => {
      const { job } = seen;
      const { phase } = job.state;
      if (!isBorrower(this.#node, job) || phase === 'parked' || phase === 'ended' || phase === 'starting')
        return [];
      let borrower = this.#borrowers.get(job);
      if (!borrower) {
        borrower = new Borrower(job);
        this.#borrowers.set(job, borrower);
        void borrower.learn(this.#node);
      }
      return [[borrower, seen]];
    });
  }

  /** What is to be done to one machine, in order; the rest is left when one of it fails, and decided anew at the next look. */
  async #carryOut(borrower: Borrower, acts: readonly Act[]): Promise<void> {
    if (borrower.doing !== undefined) return;
    const { job } = borrower;
    const name = formatKey(job.key);
    for (const act of acts) {
      borrower.doing = act.measure.do;
      const begun = performance.now();
      job.log.info(`give-back: ${act.measure.do}: ${act.why}`, act.numbers);
      try {
        await this.#do(borrower, act);
        const numbers = { ...act.numbers, took_ms: Math.round(performance.now() - begun) };
        this.#node.deeds.note({ job: name, what: act.measure.do, why: act.why, numbers });
      } catch (error) {
        const reason = messageOf(error);
        job.log.warn(`give-back: ${act.measure.do} failed: ${reason}`);
        this.#node.deeds.note({
          ...{ job: name, what: `${act.measure.do} failed`, why: `${reason}; wanted since ${act.why}` },
          numbers: act.numbers,
        });
        if (act.measure.do === 'evict') borrower.refused(reason);
        break;
      }
    }
    borrower.doing = undefined;
  }

  async #do(borrower: Borrower, { measure, numbers }: Act): Promise<void> {
    const { job } = borrower;
    const { domain } = job.resources;
    const { hypervisor } = this.#node.context;
    switch (measure.do) {
      case 'least-weight':
      case 'low-weight':
        if (domain)
          await hypervisor.setCpuWeight(domain, measure.do === 'low-weight' ? LOW_WEIGHT : LEAST_WEIGHT);
        borrower.weight = measure.do === 'low-weight' ? 'low' : 'least';
        return;
      case 'reclaim':
      case 'deflate': {
        const bytes = measure.do === 'reclaim' ? measure.balloonBytes : 0;
        if (domain) await hypervisor.setBalloon(domain, bytes);
        borrower.filled(bytes);
        return;
      }
      case 'freeze':
        // QEMU stops its vCPUs itself: with the least weight beside an owner that wants all it would get to that after seconds (measured: 2.5 s).
        if (domain) await hypervisor.setCpuWeight(domain, ORDINARY_WEIGHT);
        await job.dispatch({ type: 'press' });
        if (domain) await hypervisor.setCpuWeight(domain, LOW_WEIGHT);
        borrower.weight = 'low';
        return;
      case 'thaw':
        return job.dispatch({ type: 'relieve' });
      case 'evict':
        return this.#evict(borrower, numbers.predicted_give_back_ms);
      case 'end-parked':
        return job.dispatch({ type: 'park-over' });
    }
  }

  /** Resolves when the scheduler has been told; what came of it is noted when the machine is gone. */
  async #evict(borrower: Borrower, predictedMs = 0): Promise<void> {
    const { job } = borrower;
    const resident =
      this.#verdict?.victims.find(({ job: name }) => name === formatKey(job.key))?.residentBytes ?? 0;
    const trouble = await this.#store.look(resident);
    if (trouble !== undefined) throw new Error(`nothing can be saved now: ${trouble}`);
    job.givesBack = true;
    try {
      await migrate(this.#node, job);
    } catch (error) {
      job.givesBack = false;
      throw error;
    }
    borrower.sentBack();
    void this.#noteEnd(job, performance.now(), {
      predicted_give_back_ms: predictedMs,
      resident_bytes: resident,
    });
  }

  async #noteEnd(job: Job, begun: number, numbers: Record<string, number>): Promise<void> {
    const name = formatKey(job.key);
    const sinceMs = () => Math.round(performance.now() - begun);
    while (job.state.phase !== 'ended' && sinceMs() < GONE_WITHIN_MS)
      await sleep(LOOK_EVERY_MS, undefined, { ref: false });
    const isGone = job.state.phase === 'ended';
    const what = isGone ? 'memory is back' : 'memory is not back';
    const why = isGone
      ? `${formatBytes(numbers.resident_bytes ?? 0)} are back ${sinceMs()} ms after its eviction was decided`
      : `it is still ${job.state.phase} after ${GONE_WITHIN_MS / 1000} s`;
    job.log.info(`give-back: ${what}: ${why}`, { ...numbers, took_ms: sinceMs() });
    this.#node.deeds.note({ job: name, what, why, numbers: { ...numbers, took_ms: sinceMs() } });
  }

  async #endParked(job: Job, acts: readonly Act[]): Promise<void> {
    const [act] = acts;
    if (!act) return;
    job.log.info(`give-back: ${act.measure.do}: ${act.why}`, act.numbers);
    this.#node.deeds.note({
      ...{ job: formatKey(job.key), what: act.measure.do, why: act.why, numbers: act.numbers },
    });
    await job.dispatch({ type: 'park-over' }).catch((error: unknown) => job.log.error(messageOf(error)));
  }
}

function byJob(acts: readonly Act[]): Map<string, Act[]> {
  const jobs = new Map<string, Act[]>();
  for (const act of acts) jobs.set(act.job, [...(jobs.get(act.job) ?? []), act]);
  return jobs;
}
