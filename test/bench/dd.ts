import { join } from 'node:path';

import type { LabHost } from '../lab/host.ts';
import { on } from '../lab/process.ts';

const TIMEOUT_MS = 300_000;

/** Seconds of `dd ... conv=fdatasync` of so many bytes into a directory of a host; the file goes again. */
export async function ddSeconds(host: LabHost, directory: string, bytes: number): Promise<number> {
  const path = join(directory, '.bench-dd');
  const began = performance.now();
  try {
    const blocks = ['bs=1M', `count=${bytes}`, 'iflag=count_bytes', 'conv=fdatasync', 'status=none'];
    await on(host, ['dd', 'if=/dev/zero', `of=${path}`, ...blocks], { timeoutMs: TIMEOUT_MS });
    return (performance.now() - began) / 1000;
  } finally {
    await on(host, ['rm', '-f', path]);
  }
}
