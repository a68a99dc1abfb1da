import { hostname } from 'node:os';

import { CaddisError } from '../../model/errors.ts';
import type { Explanation } from '../../model/explain.ts';
import { parseKey } from '../../model/job.ts';
import type { Node } from '../node.ts';

/** What was done on this node for owners' sake, to one job or to all, and why. `name`: a job, this host, or undefined for all. Throws CaddisError for another host. */
export async function explain(node: Node, name: string | undefined): Promise<Explanation> {
  const host = hostname();
  if (name === undefined || name === host || name === host.split('.')[0])
    return node.giveBack.explain(host, undefined);
  if (!parseKey(name))
    throw new CaddisError(`"${name}" is neither a job nor this host (${host}): ask caddisd on that host`);
  return node.giveBack.explain(host, name);
}
