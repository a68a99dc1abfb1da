import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { CaddisError } from '../../model/errors.ts';

import { IMAGE_PARTS, type ImageManifest, type ImagePart, manifestSchema } from './manifest.ts';

const DEFAULT_IMAGE_STORE = '/var/lib/caddis/images';

/** An image on this node. Its files never change; QEMU maps them while guests run. */
export interface StoredImage {
  readonly id: string;
  readonly directory: string;
  readonly names: readonly string[];
  readonly manifest: ImageManifest;
}

/** Says who still needs an image (machines, checkpoints), in words for the admin. */
export type ImageUsers = (id: string) => Promise<readonly string[]>;

/**
 * The images of a node: `<root>/<sha256>/{vmlinux,initrd,root.erofs,image.json}`, names as links `<root>/names/NAME -> ../<sha256>`, and
 * `<root>/cache` with what is only there to save time.
 */
export class ImageStore {
  readonly root: string;

  /** `root`: option, else $CADDIS_IMAGES, else /var/lib/caddis/images. */
  constructor(root?: string) {
    this.root = root ?? process.env.CADDIS_IMAGES ?? DEFAULT_IMAGE_STORE;
  }

  get cacheDirectory(): string {
    return join(this.root, 'cache');
  }

  /** A fresh directory on the store's own file system, for `publish`. Stale ones of builds that were killed are swept after a day. */
  async workDirectory(): Promise<string> {
    await mkdir(join(this.root, 'names'), { recursive: true, mode: 0o755 });
    await mkdir(this.cacheDirectory, { recursive: true, mode: 0o755 });
    for (const entry of await readdir(this.root)) {
      if (!entry.startsWith('.build-')) continue;
      const path = join(this.root, entry);
      const age = Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now());
      if (age > STALE_BUILD_MS) await rm(path, { recursive: true, force: true });
    }
    return mkdtemp(join(this.root, '.build-'));
  }

  /**
   * Makes the parts in `directory` (made by workDirectory) an image. It is written to disk before it gets its name, so that a crash leaves
   * either no image or a whole one. An image with the same parts that is there already is kept.
   */
  async publish(
    directory: string,
    facts: Omit<ImageManifest, 'format' | 'id' | 'parts'>,
  ): Promise<StoredImage> {
    const parts = {} as Record<ImagePart, { bytes: number; sha256: string }>;
    for (const name of IMAGE_PARTS) parts[name] = await hashFile(join(directory, name));
    const id = imageId(parts);
    const target = join(this.root, id);
    const existing = await this.#read(id);
    if (existing) return { ...existing, names: await this.#namesOf(id) };
    const manifest: ImageManifest = manifestSchema.parse({ format: 1, id, ...facts, parts });
    await writeFile(join(directory, 'image.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    for (const name of [...IMAGE_PARTS, 'image.json']) {
      await chmod(join(directory, name), 0o444);
      await sync(join(directory, name));
    }
    await chmod(directory, 0o555);
    await sync(directory);
    await rename(directory, target).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
    await sync(this.root);
    return { id, directory: target, manifest, names: await this.#namesOf(id) };
  }

  /** Points a name at an image, replacing what it pointed at, in one step. */
  async setName(name: string, id: string): Promise<void> {
    checkName(name);
    const beside = join(this.root, 'names', `.${name}.${process.pid}`);
    await rm(beside, { force: true });
    await symlink(join('..', id), beside);
    await rename(beside, join(this.root, 'names', name));
  }

  /** All images, newest first. A damaged one is an error, not a gap. */
  async list(): Promise<StoredImage[]> {
    const entries = await readdir(this.root).catch(ifAbsent<string[]>([]));
    const names = await this.#names();
    const images: StoredImage[] = [];
    for (const id of entries.filter((entry) => /^[0-9a-f]{64}$/.test(entry))) {
      const image = await this.#read(id);
      if (image)
        images.push({ ...image, names: names.filter((entry) => entry.id === id).map(({ name }) => name) });
    }
    return images.sort((a, b) => (a.manifest.createdAt < b.manifest.createdAt ? 1 : -1));
  }

  /** Finds an image by name, id, or the unambiguous beginning of an id (at least 4 digits). Throws ImageNotFound. */
  async find(nameOrId: string): Promise<StoredImage> {
    const named = (await this.#names()).find(({ name }) => name === nameOrId);
    const ids = named ? [named.id] : await this.#idsBeginning(nameOrId);
    if (ids.length > 1)
      throw new ImageNotFound(`image ${nameOrId}: ${ids.length} images begin so; give more digits`);
    const image = ids[0] === undefined ? undefined : await this.#read(ids[0]);
    if (!image)
      throw new ImageNotFound(
        `image ${nameOrId}: not on this node (store ${this.root}); see "caddis image list", or build it with "caddis image build"`,
      );
    return { ...image, names: await this.#namesOf(image.id) };
  }

  /**
   * Removes an image and its name. It is kept while other names (unless `force`) or `users` need it; those who hold it open
   * go on reading, but a frozen or saved machine could not be started again. Throws ImageInUse.
   */
  async remove(
    nameOrId: string,
    options: { readonly force: boolean; readonly users?: ImageUsers },
  ): Promise<StoredImage> {
    const image = await this.find(nameOrId);
    const others = image.names.filter((name) => name !== nameOrId);
    const users = (await options.users?.(image.id)) ?? [];
    if (users.length > 0)
      throw new ImageInUse(`image ${image.id.slice(0, 12)} is needed by ${users.join(', ')}; it stays`);
    if (others.length > 0 && !options.force)
      throw new ImageInUse(
        `image ${image.id.slice(0, 12)} is also named ${others.join(', ')}; remove these names too with --force`,
      );
    for (const name of image.names) await rm(join(this.root, 'names', name), { force: true });
    const doomed = join(this.root, `.build-removed-${image.id.slice(0, 12)}-${process.pid}`);
    await rename(image.directory, doomed);
    await chmod(doomed, 0o755);
    await rm(doomed, { recursive: true });
    return image;
  }

  async #read(id: string): Promise<Omit<StoredImage, 'names'> | undefined> {
    const directory = join(this.root, id);
    if (!(await lstat(directory).catch(ifAbsent(undefined)))) return undefined;
    const parsed = manifestSchema.safeParse(
      JSON.parse(await readFile(join(directory, 'image.json'), 'utf8')),
    );
    if (!parsed.success)
      throw new CaddisError(
        `${directory}/image.json: ${parsed.error.issues[0]?.message ?? 'not a manifest'}; remove the directory and build the image again`,
      );
    return { id, directory, manifest: parsed.data };
  }

  async #idsBeginning(prefix: string): Promise<string[]> {
    if (!/^[0-9a-f]{4,64}$/.test(prefix)) return [];
    const entries = await readdir(this.root).catch(ifAbsent<string[]>([]));
    return entries.filter((entry) => /^[0-9a-f]{64}$/.test(entry) && entry.startsWith(prefix));
  }

  async #namesOf(id: string): Promise<string[]> {
    return (await this.#names()).filter((entry) => entry.id === id).map(({ name }) => name);
  }

  async #names(): Promise<{ name: string; id: string }[]> {
    const entries = (await readdir(join(this.root, 'names')).catch(ifAbsent<string[]>([]))).filter(
      (name) => !name.startsWith('.'),
    );
    const pairs = entries.map(async (name) => ({
      name,
      id: basename(await readlink(join(this.root, 'names', name))),
    }));
    return (await Promise.all(pairs)).sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}

export class ImageNotFound extends CaddisError {
  override name = 'ImageNotFound';
}

export class ImageInUse extends CaddisError {
  override name = 'ImageInUse';
}

const STALE_BUILD_MS = 24 * 3600 * 1000;

/** The content address: a hash of the parts' hashes, in a fixed order. */
function imageId(parts: ImageManifest['parts']): string {
  const hash = createHash('sha256');
  for (const name of IMAGE_PARTS) hash.update(`${name} ${parts[name].sha256}\n`);
  return hash.digest('hex');
}

/** Throws for a name that is no file name or that could be taken for an id. */
export function checkName(name: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name) || /^[0-9a-f]{12,64}$/.test(name))
    throw new CaddisError(
      `image name: expected letters, digits, ".", "_", "-" (at most 64, not like an id), got ${JSON.stringify(name)}`,
    );
}

async function hashFile(path: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return { bytes: (await stat(path)).size, sha256: hash.digest('hex') };
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function ifAbsent<T>(value: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code === 'ENOENT') return value;
    throw error;
  };
}
