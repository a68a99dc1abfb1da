import { readFile, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';

import { recordDaemon, signal, startTime } from '../daemons.ts';
import type { Lab, LabHost } from '../host.ts';
import { on, until } from '../process.ts';
import type { Cell } from './cell.ts';

/** Daemons pass their environment on to jobs: nothing but what a boot script would give them. */
function bare(cell: Cell): string[] {
  const env = Object.entries(cell.environment).map(([name, value]) => `${name}=${value}`);
  return [
    'env',
    '-i',
    '-C',
    '/',
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'LANG=C.UTF-8',
    ...env,
  ];
}

/** Starts sge_qmaster on the head; done when qconf gets an answer. */
export async function startQmaster(lab: Lab, cell: Cell): Promise<void> {
  await linkLog(lab, lab.head, 'sge_qmaster', join(cell.qmasterSpool, 'messages'));
  await on(lab.head, [...bare(cell), 'sge_qmaster']);
  await until(
    `sge_qmaster to answer (see ${cell.qmasterSpool}/messages)`,
    async () =>
      (await on(lab.head, ['qconf', '-sss'], { env: { ...cell.environment }, timeoutMs: 5_000 })) !== '',
    { timeoutMs: 20_000 },
  );
  await recordDaemon(lab.head, 'sge_qmaster', await pidIn(join(cell.qmasterSpool, 'qmaster.pid')));
}

/** Starts sge_execd on a node; it is usable when the qmaster shows the node's load (waitForNodes). */
export async function startExecd(lab: Lab, cell: Cell, node: LabHost): Promise<void> {
  const spool = join(cell.execdSpool, node.name);
  await rm(join(spool, 'execd.pid'), { force: true });
  await linkLog(lab, node, 'sge_execd', join(spool, 'messages'));
  await on(node, [...bare(cell), 'sge_execd']);
  const pid = await until(`sge_execd on ${node.name} to write its pid (see ${spool}/messages)`, () =>
    pidIn(join(spool, 'execd.pid')),
  );
  await recordDaemon(node, 'sge_execd', pid);
}

/** Waits until every node reports a load. Until its caddisd does, too, its queues are closed (state `a`: vm_ok). */
export async function waitForNodes(lab: Lab, cell: Cell, allowed: '' | 'a' = ''): Promise<void> {
  await until('all queue instances to be in service', async () => {
    const text = await on(lab.head, ['qstat', '-f', '-q', 'all.q'], { env: { ...cell.environment } });
    const rows = text.split('\n').filter((line) => line.startsWith('all.q@'));
    // Columns: queuename qtype resv/used/tot. load arch [states]
    return (
      rows.length === lab.nodes.length &&
      rows.every((row) => {
        const [, , , load, , states] = row.split(/\s+/);
        return load !== '-NA-' && ['', allowed].includes(states ?? '');
      })
    );
  });
}

/** Ends the daemons, execds first; jobs that still run are killed by their execd's end (`qconf -kej`) or by the lab's sweep. */
export async function stopDaemons(lab: Lab, cell: Cell, qmasterGraceMs = 10_000): Promise<void> {
  await Promise.all(
    lab.nodes.map(({ name }) => terminate(join(cell.execdSpool, name, 'execd.pid'), 'sge_execd', 1_500)),
  );
  await terminate(join(cell.qmasterSpool, 'qmaster.pid'), 'sge_qmaster', qmasterGraceMs);
}

async function terminate(file: string, program: string, graceMs: number): Promise<void> {
  const pid = await pidIn(file).catch(() => undefined);
  // The file may be an old one: only a process of that name is ours.
  const name = pid && (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim();
  if (!pid || name !== program) return;
  const gone = async () => (await startTime(pid)) === undefined;
  signal(pid, 'SIGTERM');
  await until(`${program} ${pid} to end`, gone, { timeoutMs: graceMs }).catch(async () => {
    signal(pid, 'SIGKILL');
    await until(`${program} ${pid} to die`, gone, { timeoutMs: 3_000 });
  });
}

async function pidIn(file: string): Promise<number> {
  const pid = Number((await readFile(file, 'utf8')).trim());
  if (!Number.isInteger(pid) || pid <= 1) throw new Error(`expected a pid in ${file}`);
  return pid;
}

/** `<logs>/<host>-<daemon>.log` shows what the daemon writes into its spool. */
async function linkLog(lab: Lab, host: LabHost, daemon: string, messages: string): Promise<void> {
  const path = join(lab.paths.logs, `${host.name}-${daemon}.log`);
  await rm(path, { force: true });
  await symlink(messages, path);
}
