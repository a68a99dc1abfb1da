import { join } from 'node:path';

import type { NodeTop } from '../../../src/model/top.ts';
import type { LabHost } from '../../lab/host.ts';
import { repository } from '../../lab/layout.ts';
import { on } from '../../lab/process.ts';

/** What `caddis top` says on a node. */
export async function readTop(node: LabHost): Promise<NodeTop> {
  const cli = join(repository, 'dist/caddis.cjs');
  return JSON.parse(await on(node, [process.execPath, cli, 'top', '--once', '--json'])) as NodeTop;
}
