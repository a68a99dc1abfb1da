import type { NodePressure, NodeReport } from '../model/node-report.ts';
import type { MachineUsage } from './machine.ts';
import { clamp01, type Stalls } from './psi.ts';
import { cpuSlack, memorySlack, type NodeMemory } from './slack.ts';

/** A job's machine as the node's sums need it. */
export interface JobLoad {
  readonly reservedBytes: number;
  readonly reservedCpus: number;
  /** It runs in what others have reserved. */
  readonly isBorrower: boolean;
  /** It has a machine that is neither starting nor ending. */
  readonly isSteady: boolean;
  /** Undefined: not yet seen. */
  readonly usage: MachineUsage | undefined;
}

export interface NodeLoad {
  /** Undefined: caddisd has not seen the host yet. */
  readonly memory: NodeMemory | undefined;
  /** CPUs that the scheduler may give to jobs. */
  readonly cpus: number;
  /** CPUs of the host that nobody uses. */
  readonly idleCpus: number;
  /** Of the host, shares of the last second. */
  readonly stalls: Stalls | undefined;
  readonly jobs: readonly JobLoad[];
}

/** With less than this share of the node's memory left, pressure rises whoever grows. */
const LOW_MEMORY_SHARE = 0.05;

/** What the node says of itself. `ok` false closes it: no slack. What is not known counts as no slack and no pressure: nothing is evicted for want of data. */
export function nodeReport(load: NodeLoad, ok: boolean): NodeReport {
  const lenders = load.jobs.filter(({ isBorrower }) => !isBorrower);
  const borrowers = load.jobs.filter(({ isBorrower }) => isBorrower);
  const lent = {
    memoryBytes: borrowers.reduce((sum, { reservedBytes }) => sum + reservedBytes, 0),
    cpus: borrowers.reduce((sum, { reservedCpus }) => sum + reservedCpus, 0),
  };
  return {
    ok,
    jobs: load.jobs.length,
    lent,
    pressure: nodePressure(load, lenders),
    slack: ok && load.memory ? slackOf(load, load.memory, lenders, borrowers) : { memoryBytes: 0, cpus: 0 },
  };
}

function slackOf(
  load: NodeLoad,
  memory: NodeMemory,
  lenders: readonly JobLoad[],
  borrowers: readonly JobLoad[],
) {
  const isSettled = ({ isSteady, usage }: JobLoad) => isSteady && usage?.isSettled === true;
  return {
    memoryBytes: memorySlack(
      memory,
      lenders.map((job) => ({
        reservedBytes: job.reservedBytes,
        residentBytes: job.usage?.residentBytes ?? 0,
        riseBytes: Math.max(job.usage?.riseBytes ?? 0, job.usage?.growthBytes ?? 0),
        isSettled: isSettled(job),
      })),
      borrowers.map((job) => ({
        grantedBytes: job.reservedBytes,
        residentBytes: job.usage?.residentBytes ?? 0,
      })),
    ),
    cpus: cpuSlack(
      { idleHostCpus: load.idleCpus, unreservedCpus: unreservedCpus(load.cpus, memory, lenders) },
      lenders.map((job) => ({
        reservedCpus: job.reservedCpus,
        demandCpus: job.usage?.cpuDemand ?? 0,
        isSettled: isSettled(job),
      })),
      borrowers.map(({ reservedCpus }) => ({ grantedCpus: reservedCpus })),
    ),
  };
}

/** CPUs go with the memory: what nobody has reserved is lent, or neither. */
function unreservedCpus(cpus: number, { lendsUnreserved }: NodeMemory, lenders: readonly JobLoad[]): number {
  const reserved = lenders.reduce((sum, { reservedCpus }) => sum + reservedCpus, 0);
  return lendsUnreserved ? Math.max(cpus - reserved, 0) : 0;
}

function nodePressure(load: NodeLoad, lenders: readonly JobLoad[]): NodePressure {
  const memory = load.memory ? memoryPressure(load, load.memory, lenders) : 0;
  const demand = lenders.reduce((sum, { usage }) => sum + (usage?.cpuDemand ?? 0), 0);
  const cpu = load.cpus > 0 ? clamp01(demand / load.cpus) : 0;
  const io = load.stalls?.io.full ?? 0;
  return { memory, cpu, io, overall: Math.max(memory, cpu, io) };
}

/**
 * How much of what is left the owners will have taken before lent memory could be back; how near the host is to having none; how much it already stalls for memory.
 * The first leads: stalls come too late (facts: "PSI was too late").
 */
function memoryPressure(load: NodeLoad, memory: NodeMemory, lenders: readonly JobLoad[]): number {
  const leftBytes = memory.availableBytes - memory.keptBytes;
  if (leftBytes <= 0) return 1;
  const growth = lenders.reduce(
    (sum, { reservedBytes, usage }) =>
      sum +
      Math.min(usage?.growthBytes ?? 0, Math.max(reservedBytes - (usage?.residentBytes ?? reservedBytes), 0)),
    0,
  );
  const lowBytes = LOW_MEMORY_SHARE * memory.capacityBytes;
  return Math.max(
    clamp01(growth / leftBytes),
    lowBytes > 0 ? clamp01(1 - leftBytes / lowBytes) : 0,
    load.stalls?.memory.full ?? 0,
  );
}
