import type { NodeReport } from '../../model/node-report.ts';
import type { RunCommand } from '../run-program.ts';
import { askNodeGres, commentWith, gresList, knowsSlack, type NodeGres, parseNodeGres } from './node-gres.ts';
import { type Announced, type Announcement, announcement, decide } from './slack-policy.ts';

/** After whatever was tried, at least this share of the interval passes before slurmctld hears of us again. */
const RETRY_SHARE = 1 / 6;
/** Nodes that were started together do not speak together. */
const JITTER_SHARE = 1 / 6;
/** A site that has not set the GRES up is asked again after so many intervals. */
const ABSENT_INTERVALS = 10;

/** Keeps slurmctld's count of this node's slack, and our word in the node's comment. */
export class SlackPublisher {
  readonly #node: string;
  readonly #run: RunCommand;
  readonly #intervalMs: number;
  #last: Announced | undefined;
  #isKnown = false;
  #isDoubted = false;
  #notBeforeMs: number;
  /** Why slurmctld does not know; thrown until it does. */
  #trouble: unknown;

  constructor(node: string, run: RunCommand, intervalMs: number) {
    this.#node = node;
    this.#run = run;
    this.#intervalMs = intervalMs;
    this.#notBeforeMs = performance.now() + Math.random() * JITTER_SHARE * intervalMs;
  }

  /** A job came that is not covered: what slurmctld counts is told anew at the next turn, however small the difference. */
  doubt(): void {
    this.#isDoubted = true;
  }

  /** Takes a report; most of them make no difference. Rejects with SchedulerUnavailable or SlurmRefused, also between attempts. */
  async publish(report: NodeReport, signal: AbortSignal): Promise<void> {
    const nowMs = performance.now();
    if (nowMs < this.#notBeforeMs) {
      if (this.#trouble !== undefined) throw this.#trouble;
      return;
    }
    const wanted = announcement(report, this.#last?.state);
    const what = decide(nowMs, this.#last, wanted, this.#intervalMs);
    if (what === 'nothing' && !this.#isDoubted) return;
    this.#notBeforeMs = nowMs + RETRY_SHARE * this.#intervalMs;
    try {
      await this.#bring(wanted, nowMs, signal);
      this.#trouble = undefined;
    } catch (error) {
      this.#trouble = error;
      throw error;
    }
  }

  /** Reads the node first: an update lists all GRES, and the count may have been reset. */
  async #bring(wanted: Announcement, nowMs: number, signal: AbortSignal): Promise<void> {
    this.#isKnown ||= knowsSlack(await this.#run(['scontrol', 'show', 'config'], signal));
    if (!this.#isKnown) {
      this.#notBeforeMs = nowMs + ABSENT_INTERVALS * this.#intervalMs;
      return;
    }
    const known = parseNodeGres(await this.#run(askNodeGres(this.#node), signal));
    const last = this.#last;
    const holds = this.#isDoubted
      ? known.slackMib === wanted.slackMib
      : last?.slackMib === known.slackMib && decide(nowMs, last, wanted, this.#intervalMs) !== 'update';
    if (!holds) await this.#run(updateCommand(this.#node, known, wanted), signal);
    // A check must not look like an update: the next one would wait for it.
    this.#isDoubted = false;
    this.#last =
      holds && last ? { ...last, checkedAtMs: nowMs } : { ...wanted, atMs: nowMs, checkedAtMs: nowMs };
  }
}

function updateCommand(node: string, known: NodeGres, { slackMib, state }: Announcement): string[] {
  const comment = commentWith(known.comment, `${state}, slack ${slackMib}M`);
  return [
    'scontrol',
    'update',
    `NodeName=${node}`,
    `Gres=${gresList(known, slackMib)}`,
    `Comment=${comment}`,
  ];
}
