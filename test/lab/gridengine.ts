import { mkdir } from 'node:fs/promises';

import { cellOf } from './gridengine/cell.ts';
import { configureCell, spoolCell } from './gridengine/configure.ts';
import { startExecd, startQmaster, stopDaemons, waitForNodes } from './gridengine/daemons.ts';
import { writeHooks } from './gridengine/files.ts';
import { restoreTemplate, saveTemplate } from './gridengine/template.ts';
import type { LabScheduler } from './host.ts';

/** Grid Engine 8.1.9 in a private cell: sge_qmaster on the head, an sge_execd on each node, our hooks on all.q, none on native.q. */
export const gridengine: LabScheduler = {
  name: 'gridengine',

  async start(lab) {
    const cell = cellOf(lab);
    await mkdir(cell.dir, { recursive: true });
    await writeHooks(cell);
    if (await restoreTemplate(lab, cell)) await startQmaster(lab, cell);
    else {
      await spoolCell(lab, cell);
      await startQmaster(lab, cell);
      await configureCell(lab, cell);
      await stopDaemons(lab, cell);
      await saveTemplate(lab, cell);
      await startQmaster(lab, cell);
    }
    await Promise.all(lab.nodes.map((node) => startExecd(lab, cell, node)));
    // caddisd starts later, and waits for its queues itself.
    await waitForNodes(lab, cell, 'a');
  },

  async stop(lab) {
    // The qmaster takes 6 s to end by itself; what it has spooled is thrown away at the next start.
    await stopDaemons(lab, cellOf(lab), 500);
  },

  environment(lab) {
    return { ...cellOf(lab).environment };
  },
};
