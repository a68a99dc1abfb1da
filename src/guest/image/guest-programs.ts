import { access } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CaddisError } from '../../model/errors.ts';

/** What the initramfs is made of besides kernel modules. */
export interface GuestPrograms {
  readonly initPath: string;
  readonly stubPath: string;
  /** One module a line; undefined: the built-in list. */
  readonly modulesPath?: string | undefined;
}

/**
 * Finds caddis-init and caddis-stub: $CADDIS_GUEST_DIR, the bundle's own directory, the build directory of a checkout, /usr/lib/caddis.
 * Throws with the places that were searched.
 */
export async function locateGuestPrograms(): Promise<GuestPrograms> {
  const here = dirname(fileURLToPath(import.meta.url));
  const checkout = join(here, '../../..');
  const configured = process.env.CADDIS_GUEST_DIR;
  const places = configured ? [configured] : [here, join(checkout, 'build'), '/usr/lib/caddis'];
  for (const place of places) {
    const initPath = join(place, 'caddis-init');
    const stubPath = join(place, 'caddis-stub');
    if (!(await exists(initPath)) || !(await exists(stubPath))) continue;
    const lists = [join(place, 'modules.txt'), join(place, '../src/guest/init/modules.txt')];
    for (const modulesPath of lists)
      if (await exists(modulesPath)) return { initPath, stubPath, modulesPath };
    return { initPath, stubPath };
  }
  throw new CaddisError(
    `expected caddis-init and caddis-stub in one of ${places.join(', ')}; build them with "npm run build"`,
  );
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
