import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CaddisError } from '../../model/errors.ts';

import { type CpioEntry, writeCpio } from './cpio.ts';
import type { GuestKernel } from './kernel.ts';
import { REQUIRED_MODULES } from './module-sets.ts';
import { readModuleIndex, selectModules } from './modules.ts';
import { slimModule } from './slim-module.ts';

/**
 * The initramfs: `/init` (caddis-init), `/caddis-stub`, and `/modules/*.ko` with `/modules/order`, their names without `.ko`, one a line,
 * in loading order. Not compressed: unpacking would cost more than QEMU's copy. /dev/console is there because the kernel opens it for
 * PID 1 before anything is mounted.
 */
export async function makeInitrd(options: {
  readonly kernel: GuestKernel;
  readonly initPath: string;
  readonly stubPath: string;
  readonly modules: readonly string[];
}): Promise<{
  readonly content: Buffer;
  readonly modules: readonly string[];
  readonly missing: readonly string[];
}> {
  const { kernel, initPath, stubPath } = options;
  const { paths, missing } = selectModules(await readModuleIndex(kernel.modulesDirectory), options.modules);
  const fatal = missing.filter((name) => REQUIRED_MODULES.includes(name));
  if (fatal.length > 0)
    throw new CaddisError(
      `kernel ${kernel.release}: expected the modules ${fatal.join(', ')} or the same built in; choose another --kernel`,
    );
  const names = paths.map((path) => basename(path, '.ko'));
  const entries: CpioEntry[] = [
    ...['dev', 'modules', 'proc', 'sys', 'ro', 'rw', 'new', 'run', 'tmp'].map(
      (path): CpioEntry => ({ kind: 'directory', path, mode: 0o755 }),
    ),
    { kind: 'device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'device', path: 'dev/null', mode: 0o666, major: 1, minor: 3 },
    { kind: 'file', path: 'init', mode: 0o755, content: await readProgram(initPath) },
    { kind: 'file', path: 'caddis-stub', mode: 0o755, content: await readProgram(stubPath) },
    {
      kind: 'file',
      path: 'modules/order',
      mode: 0o644,
      content: Buffer.from(names.map((name) => `${name}\n`).join('')),
    },
  ];
  for (const path of paths) {
    const content = slimModule(await readFile(join(kernel.modulesDirectory, path)));
    entries.push({ kind: 'file', path: `modules/${basename(path)}`, mode: 0o644, content });
  }
  return { content: writeCpio(entries), modules: names, missing };
}

async function readProgram(path: string): Promise<Buffer> {
  return readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new CaddisError(`${path}: ${error.code ?? error.message}; build it with "npm run build"`);
  });
}
