import type { Lab } from '../lab/host.ts';
import { until } from '../lab/process.ts';
import { bash } from './on-node.ts';

/** RPCs that slurmctld has served since it started (or its counters were reset), by message type. */
async function rpcCounts(lab: Lab): Promise<Map<string, number>> {
  return parseRpcCounts(await bash(lab, { host: 'head', user: 'root', script: 'sdiag' }));
}

/** What `sdiag` says of them. */
export function parseRpcCounts(text: string): Map<string, number> {
  const section = /by message type\n([\s\S]*?)\n\s*\n/.exec(text)?.[1];
  if (!section) throw new Error(`sdiag: expected RPCs "by message type", got:\n${text}`);
  return new Map(
    [...section.matchAll(/^\s*(\w+)\s*\(\s*\d+\)\s*count:(\d+)/gm)].map(([, name = '', count]) => [
      name,
      Number(count),
    ]),
  );
}

/** The counts once nothing was added for a while, but for sdiag's own: epilogs and messages of a batch are through. */
export async function settledCounts(lab: Lab): Promise<Map<string, number>> {
  let before = await rpcCounts(lab);
  return until(
    'slurmctld to be quiet',
    async () => {
      const now = await rpcCounts(lab);
      const quiet = Object.values(increase(before, now)).every((count) => count === 0);
      before = now;
      return quiet && now;
    },
    { timeoutMs: 60_000, everyMs: 2000 },
  );
}

/** What came between two counts. What the bench itself and idle nodes ask is left out. */
export function increase(before: Map<string, number>, after: Map<string, number>): Record<string, number> {
  const grown = [...after].map(([name, count]) => [name, count - (before.get(name) ?? 0)] as const);
  return Object.fromEntries(grown.filter(([name, count]) => count > 0 && !OWN.has(name)));
}

const OWN = new Set(['REQUEST_STATS_INFO', 'REQUEST_PING', 'MESSAGE_NODE_REGISTRATION_STATUS']);
