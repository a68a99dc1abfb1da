import { join } from 'node:path';

import type { Lab } from '../host.ts';

/** Ports of the lab's private cell (the well-known 6444/6445 may serve the machine's own). */
const QMASTER_PORT = '16444';
const EXECD_PORT = '16445';
const CELL_NAME = 'caddis';

/** Where the lab's Grid Engine keeps its files. */
export interface Cell {
  readonly dir: string;
  /** SGE_ROOT. */
  readonly root: string;
  /** `<root>/<cell>/common`. */
  readonly common: string;
  readonly spool: string;
  readonly qmasterSpool: string;
  /** Each execd has a directory of its own in here, named as its host. */
  readonly execdSpool: string;
  readonly database: string;
  /** Our hooks, as an installation has them in /usr/lib/caddis/gridengine. */
  readonly hooks: string;
  /** The spooled, configured cell as it was before its first daemon ran on. */
  readonly template: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** The cell's layout under the lab's root. */
export function cellOf(lab: Lab): Cell {
  const dir = join(lab.paths.root, 'gridengine');
  const root = join(dir, 'root');
  const spool = join(dir, 'spool');
  return {
    dir,
    root,
    common: join(root, CELL_NAME, 'common'),
    spool,
    qmasterSpool: join(spool, 'qmaster'),
    execdSpool: join(spool, 'execd'),
    database: join(spool, 'db'),
    hooks: join(dir, 'hooks'),
    template: join(dir, 'template'),
    environment: {
      SGE_ROOT: root,
      SGE_CELL: CELL_NAME,
      SGE_CLUSTER_NAME: CELL_NAME,
      SGE_QMASTER_PORT: QMASTER_PORT,
      SGE_EXECD_PORT: EXECD_PORT,
    },
  };
}
