import type { CurrentClaim } from './claim-file.ts';
import type { NodeState } from './node-watch.ts';

export interface TakeOverQuestion {
  /** Undefined: nobody has claimed the job. */
  readonly claim: CurrentClaim | undefined;
  readonly self: { readonly host: string; readonly bootId: string };
  /** Whether the claim's machine is on this very node, running, frozen or parked. Counts only for a claim of this node. */
  readonly machineIsHere: boolean;
  /** Of the claim's host; undefined while it was not looked at. */
  readonly node: NodeState | undefined;
  readonly leaseMs: number;
  /** Beyond the lease, for what the holder does late: a guest freezes itself when its own lease is over, and needs a moment. */
  readonly marginMs: number;
}

export type TakeOver =
  | { readonly allowed: true; readonly why: string }
  /** `waitMs`: when to look again; the answer may be yes then, if nothing moves. */
  | { readonly allowed: false; readonly why: string; readonly waitMs: number };

/**
 * Whether the job may be claimed in the next epoch, by `acquire(key, holder, claim.epoch)`. Pure: no clock, no files.
 * The claim must have been read before the node was last looked at: what a node says now is about every claim that it made before.
 */
export function mayTakeOver(question: TakeOverQuestion): TakeOver {
  const { claim, self, node, leaseMs, marginMs } = question;
  const patienceMs = leaseMs + marginMs;
  if (!claim) return { allowed: true, why: 'nobody has claimed it' };
  const { host, bootId, machine } = claim.holder;
  if (claim.released) return { allowed: true, why: `${host} has released it` };
  if (claim.parked) return { allowed: true, why: `${host} has saved it and let it stand` };
  if (host === self.host) {
    if (bootId !== self.bootId) return { allowed: true, why: 'this node has booted since' };
    if (!question.machineIsHere)
      return { allowed: true, why: `this node has no machine ${machine} any more` };
    return { allowed: false, why: `this node has it in machine ${machine}`, waitMs: patienceMs };
  }
  if (!node) return { allowed: false, why: `${host} holds it and was not watched yet`, waitMs: patienceMs };
  if (node.kind === 'released') return { allowed: true, why: `${host} has no machines` };
  if (node.bootId !== undefined && node.bootId !== bootId)
    return { allowed: true, why: `${host} has booted since` };
  if (node.stillMs >= patienceMs)
    return { allowed: true, why: `${host} has given no sign of life for ${seconds(node.stillMs)} s` };
  const waitMs = patienceMs - node.stillMs;
  return {
    allowed: false,
    why:
      node.kind === 'alive'
        ? `${host} holds it and is alive`
        : `${host} holds it and has given no sign of life for ${seconds(node.stillMs)} s of ${seconds(patienceMs)} s`,
    waitMs,
  };
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(0);
}
