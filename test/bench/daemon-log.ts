import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';

import type { Lab, LabHost } from '../lab/host.ts';

/** A line of caddisd's log about one job. */
export interface LogLine {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly text: string;
  /** The fields at its end, if any. */
  readonly fields: Readonly<Record<string, number>>;
}

const LINE = /^(\S+) (?:debug|info|warn|error) \[(\S+) \S+\] (.*?)(?: (\{.*\}))?$/gm;

function daemonLog(lab: Lab, node: LabHost): string {
  return join(lab.paths.logs, `${node.name}-caddisd.log`);
}

export async function logLength(lab: Lab, node: LabHost): Promise<number> {
  return (await stat(daemonLog(lab, node))).size;
}

/** What caddisd has said of a job since its log had this length. */
export async function linesOf(lab: Lab, node: LabHost, key: string, from: number): Promise<LogLine[]> {
  const text = await tail(daemonLog(lab, node), from);
  return [...text.matchAll(LINE)]
    .filter(([, , of]) => of === key)
    .map(([, when = '', , said = '', fields = '{}']) => ({
      at: Date.parse(when),
      text: said,
      fields: JSON.parse(fields) as Record<string, number>,
    }));
}

/** What was written to a file since it had this size. */
export async function tail(path: string, from: number): Promise<string> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const { buffer, bytesRead } = await file.read({
      buffer: Buffer.alloc(Math.max(size - from, 0)),
      position: from,
    });
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
