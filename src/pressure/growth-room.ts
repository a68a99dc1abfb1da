import type { Size } from './growth.ts';
import type { JobLoad, NodeLoad } from './node.ts';

/** Memory and CPUs of a node that a job could have beside its own. */
export interface RoomLoad extends Pick<NodeLoad, 'memory' | 'cpus' | 'idleCpus'> {
  readonly others: readonly JobLoad[];
  readonly self: JobLoad;
}

/**
 * What a job may be grown by without taking from anybody what was promised: memory that no job has reserved, and what settled jobs leave idle, less what they may grow by
 * before it could be had back and what was lent; and never more than the host has when all who are about to take theirs have done so. A job that runs in what others have
 * reserved gets of the second alone, unless the site lends the first as well. CPUs: what others would not run on; below 0, what they want back.
 */
export function growthRoom(load: RoomLoad): Size {
  return { memoryBytes: memoryRoom(load), cpus: cpuRoom(load) };
}

function memoryRoom({ memory, others, self }: RoomLoad): number {
  // Nothing is known of the node yet.
  if (!memory) return 0;
  const lenders = others.filter(({ isBorrower }) => !isBorrower);
  const all = [...others, self];
  const idle = ({ reservedBytes, usage }: JobLoad) =>
    Math.max(reservedBytes - (usage?.residentBytes ?? 0), 0);
  const rise = (job: JobLoad) =>
    Math.min(Math.max(job.usage?.riseBytes ?? 0, job.usage?.growthBytes ?? 0), idle(job));
  const settled = lenders.filter(isSettled);
  const lent = sum(
    others.filter(({ isBorrower }) => isBorrower),
    ({ reservedBytes }) => reservedBytes,
  );
  const unreserved = memory.capacityBytes - sum([...lenders, ...(self.isBorrower ? [] : [self])], reservedOf);
  const lendable =
    sum(settled, idle) - sum(settled, rise) - lent - (self.isBorrower ? self.reservedBytes : 0);
  const about = sum(all, (job) =>
    job !== self && !job.isBorrower && isSettled(job) ? rise(job) : idle(job),
  );
  const free = self.isBorrower && !memory.lendsUnreserved ? 0 : Math.max(unreserved, 0);
  return Math.max(Math.min(free + lendable, memory.availableBytes - memory.keptBytes - about), 0);
}

function cpuRoom({ cpus, idleCpus, others, self }: RoomLoad): number {
  const wanted = sum(others, (job) => (isSettled(job) ? (job.usage?.cpuDemand ?? 0) : job.reservedCpus));
  const left = cpus - wanted - self.reservedCpus;
  return left < 0 ? left : Math.min(left, Math.max(idleCpus, 0));
}

function isSettled({ isSteady, usage }: JobLoad): boolean {
  return isSteady && usage?.isSettled === true;
}

function reservedOf({ reservedBytes }: JobLoad): number {
  return reservedBytes;
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
