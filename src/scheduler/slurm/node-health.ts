import type { RunCommand } from '../run-program.ts';

type Health = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Our drains begin so: what an admin wrote is never touched. */
const OURS = 'caddis:';
/** slurmctld keeps reasons of any length, but sinfo and logs show one line. */
const REASON_MAX = 200;

/**
 * The same for each of this host's nodes. One that slurmctld does not know keeps none of the others from being told. Throws SchedulerUnavailable or SlurmRefused.
 */
export async function setNodeHealth(
  here: readonly string[],
  health: Health,
  run: RunCommand,
  signal: AbortSignal,
): Promise<void> {
  const told = await Promise.allSettled(here.map((node) => setHealthOf(node, health, run, signal)));
  for (const one of told) if (one.status === 'rejected') throw one.reason;
}

/**
 * Drains this node with our reason, or resumes it if the drain is ours. A node that someone else has drained or downed stays as it is. Idempotent.
 * Throws SchedulerUnavailable or SlurmRefused.
 */
async function setHealthOf(
  node: string,
  health: Health,
  run: RunCommand,
  signal: AbortSignal,
): Promise<void> {
  const now = parseNode(await run(['scontrol', '-o', 'show', 'node', node], signal));
  const drained = now.state.includes('DRAIN');
  const ours = drained && now.reason.startsWith(OURS);
  if (health.ok) {
    if (ours) await run(['scontrol', 'update', `NodeName=${node}`, 'State=RESUME'], signal);
    return;
  }
  const reason = `${OURS} ${health.reason.replace(/\s+/g, ' ')}`.slice(0, REASON_MAX);
  if (drained && (!ours || now.reason === reason)) return;
  await run(['scontrol', 'update', `NodeName=${node}`, 'State=DRAIN', `Reason=${reason}`], signal);
}

/** State (`IDLE+DRAIN`) and reason, without the `[root@time]` that scontrol adds, of a one-line node record. */
function parseNode(line: string): { readonly state: string; readonly reason: string } {
  const state = /\sState=(\S+)/.exec(line)?.[1] ?? '';
  const reason = /\sReason=(.*?)(?: \[[^\]]*@[^\]]*\])?(?: Comment=.*)?$/.exec(line.trim())?.[1] ?? '';
  return { state, reason };
}
