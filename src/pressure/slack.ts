/** Memory of a node: what ordinary jobs have reserved and leave idle, and what nobody has reserved. All in bytes. */

/** An ordinary job's machine: what the scheduler has given it is its own, whenever it wants it. */
export interface Lender {
  readonly reservedBytes: number;
  readonly residentBytes: number;
  /** The most it was seen to grow by within the time of a give-back. */
  readonly riseBytes: number;
  /** False: it is starting or ending, or not yet watched for long enough. It lends nothing, and what it has not yet taken is kept for it. */
  readonly isSettled: boolean;
}

/** A machine that runs in what others have reserved. */
export interface Borrower {
  readonly grantedBytes: number;
  readonly residentBytes: number;
}

export interface NodeMemory {
  /** MemAvailable of the host. */
  readonly availableBytes: number;
  /** Never given to guests (vm.reserve_memory). */
  readonly keptBytes: number;
  /** What the scheduler may give to jobs in all. */
  readonly capacityBytes: number;
  /** What nobody has reserved is lent too (pressure.lend_unreserved), until an ordinary job reserves it. */
  readonly lendsUnreserved: boolean;
}

/**
 * Bytes that may be lent now, beside what is lent already. Two bounds hold, and the lower one counts:
 * what lenders leave idle, and what nobody has reserved where that is lent, less what lenders may grow by before lent memory is back, less what was granted to borrowers (all of it, whether they have taken it yet or not);
 * and what the host can really give, when everybody has taken what was promised: the scheduler's own free memory where that is not lent, unsettled lenders, borrowers, and the
 * growth. Nothing is so promised twice, and page cache of a guest is no slack before it was given back.
 * A job that reserves memory that is lent already has it all the same: the slack is 0 then, until borrowers have given back what is missing.
 */
export function memorySlack(
  node: NodeMemory,
  lenders: readonly Lender[],
  borrowers: readonly Borrower[],
): number {
  const idle = (lender: Lender) => Math.max(lender.reservedBytes - lender.residentBytes, 0);
  const settled = lenders.filter(({ isSettled }) => isSettled);
  const growth = sum(settled, (lender) => Math.min(lender.riseBytes, idle(lender)));
  const unreserved = Math.max(node.capacityBytes - sum(lenders, ({ reservedBytes }) => reservedBytes), 0);
  const idleBytes =
    sum(settled, idle) +
    (node.lendsUnreserved ? unreserved : 0) -
    growth -
    sum(borrowers, ({ grantedBytes }) => grantedBytes);
  const promised =
    (node.lendsUnreserved ? 0 : unreserved) +
    sum(lenders, (lender) => (lender.isSettled ? 0 : idle(lender))) +
    sum(borrowers, ({ grantedBytes, residentBytes }) => Math.max(grantedBytes - residentBytes, 0)) +
    growth;
  return Math.max(Math.min(idleBytes, node.availableBytes - node.keptBytes - promised), 0);
}

/**
 * CPUs that may be lent now: what lenders would leave idle, and what nobody has reserved (`unreservedCpus`; 0 where that is not lent), less what borrowers were given, and no
 * more than the host has idle. A CPU is back at once: no reserve for growth.
 */
export function cpuSlack(
  { idleHostCpus, unreservedCpus }: { readonly idleHostCpus: number; readonly unreservedCpus: number },
  lenders: readonly {
    readonly reservedCpus: number;
    readonly demandCpus: number;
    readonly isSettled: boolean;
  }[],
  borrowers: readonly { readonly grantedCpus: number }[],
): number {
  const idle = sum(lenders, ({ reservedCpus, demandCpus, isSettled }) =>
    isSettled ? Math.max(reservedCpus - demandCpus, 0) : 0,
  );
  const lent = sum(borrowers, ({ grantedCpus }) => grantedCpus);
  return Math.max(Math.min(idle + unreservedCpus - lent, idleHostCpus), 0);
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
