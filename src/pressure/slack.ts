/** Memory of a node that ordinary jobs have reserved, and what of it lies idle. All in bytes. */

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
}

/**
 * Bytes that may be lent now, beside what is lent already. Two bounds hold, and the lower one counts:
 * what lenders leave idle, less what they may grow by before lent memory is back, less what was granted to borrowers (all of it, whether they have taken it yet or not);
 * and what the host can really give, when everybody has taken what was promised: the scheduler's own free memory, unsettled lenders, borrowers, and the growth.
 * Nothing is so promised twice, and page cache of a guest is no slack before it was given back.
 */
export function memorySlack(
  node: NodeMemory,
  lenders: readonly Lender[],
  borrowers: readonly Borrower[],
): number {
  const idle = (lender: Lender) => Math.max(lender.reservedBytes - lender.residentBytes, 0);
  const settled = lenders.filter(({ isSettled }) => isSettled);
  const growth = sum(settled, (lender) => Math.min(lender.riseBytes, idle(lender)));
  const idleBytes = sum(settled, idle) - growth - sum(borrowers, ({ grantedBytes }) => grantedBytes);
  const promised =
    Math.max(node.capacityBytes - sum(lenders, ({ reservedBytes }) => reservedBytes), 0) +
    sum(lenders, (lender) => (lender.isSettled ? 0 : idle(lender))) +
    sum(borrowers, ({ grantedBytes, residentBytes }) => Math.max(grantedBytes - residentBytes, 0)) +
    growth;
  return Math.max(Math.min(idleBytes, node.availableBytes - node.keptBytes - promised), 0);
}

/** CPUs that may be lent now: what lenders would leave idle, less what borrowers were given, and no more than the host has idle. A CPU is back at once: no reserve for growth. */
export function cpuSlack(
  idleHostCpus: number,
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
  return Math.max(Math.min(idle - sum(borrowers, ({ grantedCpus }) => grantedCpus), idleHostCpus), 0);
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
