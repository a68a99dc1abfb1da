import type { NodeReport } from '../../model/node-report.ts';

/** What slurmctld is to know of a node. */
export interface Announcement {
  /** Count of the GRES in MiB: what scavengers were given and what they could be given beside; Slurm takes off what it has handed out. */
  readonly slackMib: number;
  /** For people, in the node's comment. */
  readonly state: NodeState;
}

export type NodeState = 'closed' | 'calm' | 'busy' | 'pressed';

export interface Announced extends Announcement {
  /** When slurmctld was told, and when it was last found to know it still. Monotonic milliseconds. */
  readonly atMs: number;
  readonly checkedAtMs: number;
}

const MIB = 1024 * 1024;
/** Steps of the count: finer ones would tell nobody anything. */
const STEP_MIB = 64;
/** A change by less than this, or than this share, is not worth an update: memory of a machine at rest moves by some MiB. */
const DEAD_BAND_MIB = 256;
const DEAD_BAND_SHARE = 0.1;
/** Slack that is gone is taken back sooner than slack that is new is offered. */
const SOONER = 6;
/** `scontrol reconfigure` sets the count to what gres.conf says, and tells no node. */
export const CHECK_INTERVALS = 5;
/** Pressure from which a node is busy or pressed, and below which it is no more. */
const LEVELS = { pressed: { from: 0.8, until: 0.6 }, busy: { from: 0.5, until: 0.3 } } as const;

/** `before`: the state that the node was in, since a pressure at the edge must not turn it each second. */
export function announcement(report: NodeReport, before: NodeState | undefined): Announcement {
  if (!report.ok) return { slackMib: 0, state: 'closed' };
  const mib = (report.lent.memoryBytes + report.slack.memoryBytes) / MIB;
  return {
    slackMib: Math.floor(mib / STEP_MIB) * STEP_MIB,
    state: stateOf(report.pressure.overall, before),
  };
}

function stateOf(pressure: number, before: NodeState | undefined): NodeState {
  const holds = (level: keyof typeof LEVELS, stays: boolean) =>
    pressure >= (stays ? LEVELS[level].until : LEVELS[level].from);
  if (holds('pressed', before === 'pressed')) return 'pressed';
  if (holds('busy', before === 'busy' || before === 'pressed')) return 'busy';
  return 'calm';
}

/**
 * Whether slurmctld is told now, or asked whether it still knows. `intervalMs` is the least time between two updates that offer more or change the state; one that takes away
 * waits for a sixth of it. A node at rest gives neither.
 */
export function decide(
  nowMs: number,
  last: Announced | undefined,
  wanted: Announcement,
  intervalMs: number,
): 'update' | 'check' | 'nothing' {
  if (!last) return 'update';
  const ageMs = nowMs - last.atMs;
  const moreMib = wanted.slackMib - last.slackMib;
  const bandMib = Math.max(DEAD_BAND_MIB, DEAD_BAND_SHARE * last.slackMib);
  const takesAway = moreMib < -bandMib || (wanted.slackMib === 0 && last.slackMib > 0);
  if (takesAway && ageMs >= intervalMs / SOONER) return 'update';
  if ((moreMib > bandMib || wanted.state !== last.state) && ageMs >= intervalMs) return 'update';
  // A count of 0 is what a reset leaves: nothing to look after.
  const checkAfterMs = CHECK_INTERVALS * intervalMs;
  return last.slackMib > 0 && nowMs - last.checkedAtMs >= checkAfterMs ? 'check' : 'nothing';
}
