import { createHash } from 'node:crypto';
import { access, chmod, copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';

import { execa } from 'execa';
import { z } from 'zod';

import { fetchDebs } from './apt.ts';
import { extractVmlinux, KernelUnusable } from './vmlinux.ts';

/** A kernel, unpacked into the cache. */
export interface GuestKernel {
  readonly package: string;
  readonly version: string;
  /** `uname -r` of the guest. */
  readonly release: string;
  readonly vmlinuxPath: string;
  readonly vmlinuxSha256: string;
  /** .../lib/modules/RELEASE with depmod's tables. */
  readonly modulesDirectory: string;
}

/** Debian's kernel without drivers for hardware that a VM does not have; a metapackage that follows security updates. */
export const DEFAULT_KERNEL_PACKAGE = 'linux-image-cloud-amd64';

/**
 * The kernel of a Debian package: a path of a .deb, or a package name (a metapackage is followed to the real one), fetched and unpacked
 * once per version. Throws KernelUnusable.
 */
export async function prepareKernel(
  source: string,
  cacheDirectory: string,
  options: { readonly warn: (text: string) => void; readonly signal?: AbortSignal },
): Promise<GuestKernel> {
  await mkdir(cacheDirectory, { recursive: true });
  const deb = /\.deb$/.test(source) ? resolve(source) : await findDeb(source, cacheDirectory, options);
  const fields = await controlFields(deb);
  const directory = join(
    cacheDirectory,
    'kernels',
    `${fields.package}_${fields.version.replaceAll(':', '%3a')}`,
  );
  const known = await readFacts(directory);
  if (known) return known;
  await unpack(deb, fields, directory);
  const unpacked = await readFacts(directory);
  if (!unpacked) throw new Error(`${directory}: the kernel that was just unpacked cannot be read back`);
  return unpacked;
}

const factsSchema = z.object({
  package: z.string(),
  version: z.string(),
  release: z.string(),
  vmlinuxSha256: z.string().regex(/^[0-9a-f]{64}$/),
});

async function readFacts(directory: string): Promise<GuestKernel | undefined> {
  const text = await readFile(join(directory, 'kernel.json'), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const facts = factsSchema.parse(JSON.parse(text));
  return {
    ...facts,
    vmlinuxPath: join(directory, 'vmlinux'),
    modulesDirectory: join(directory, 'lib/modules', facts.release),
  };
}

/** Without package lists or a mirror the newest kernel that was fetched before still serves: a node must be able to work offline. */
async function findDeb(
  name: string,
  cacheDirectory: string,
  { warn, signal }: { warn: (text: string) => void; signal?: AbortSignal },
): Promise<string> {
  const debs = join(cacheDirectory, 'debs');
  try {
    const real = await followMetapackage(name);
    const [deb] = await fetchDebs([real], {
      directory: debs,
      dependencies: false,
      ...(signal ? { signal } : {}),
    });
    if (deb) return deb;
    throw new KernelUnusable(`apt names no file for package ${real}`);
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n').slice(0, 3).join(' ') : String(error);
    const kept = await newestKept(debs);
    if (!kept)
      throw new KernelUnusable(
        `kernel package ${name} cannot be fetched (${reason}); run "apt-get update", or give a file: --kernel linux-image-....deb`,
      );
    warn(`kernel package ${name} cannot be fetched (${reason}); using ${basename(kept)}`);
    return kept;
  }
}

async function newestKept(debs: string): Promise<string | undefined> {
  const names = (await readdir(debs).catch(() => [])).filter((name) => /^linux-image-\d.*\.deb$/.test(name));
  const byVersion = new Intl.Collator('en', { numeric: true });
  const newest = names.sort(byVersion.compare).at(-1);
  return newest && join(debs, newest);
}

async function followMetapackage(name: string): Promise<string> {
  const { stdout } = await execa('apt-cache', ['depends', '--important', name], {
    timeout: 30_000,
    env: { LC_ALL: 'C' },
  });
  return /^\s*Depends: (linux-image-\d\S*)$/m.exec(stdout)?.[1] ?? name;
}

interface ControlFields {
  readonly package: string;
  readonly version: string;
}

async function controlFields(deb: string): Promise<ControlFields> {
  await access(deb);
  const { stdout } = await execa('dpkg-deb', ['--field', deb, 'Package', 'Version'], { timeout: 30_000 });
  const field = (label: string) => new RegExp(`^${label}: (.+)$`, 'm').exec(stdout)?.[1];
  const [name, version] = [field('Package'), field('Version')];
  if (!name || !version)
    throw new KernelUnusable(`${deb}: expected a Debian package, its control fields are missing`);
  return { package: name, version };
}

async function unpack(deb: string, fields: ControlFields, directory: string): Promise<void> {
  const beside = `${directory}.${process.pid}`;
  await rm(beside, { recursive: true, force: true });
  await mkdir(join(beside, 'deb'), { recursive: true });
  try {
    await execa('dpkg-deb', ['-x', deb, join(beside, 'deb')], { timeout: 120_000 });
    const modules = await firstExisting([
      join(beside, 'deb/lib/modules'),
      join(beside, 'deb/usr/lib/modules'),
    ]);
    const [release, ...others] = modules ? await readdir(modules) : [];
    if (!modules || !release || others.length > 0)
      throw new KernelUnusable(
        `${deb}: expected one kernel release below lib/modules, found ${[release, ...others].join(', ')}`,
      );
    const vmlinux = await extractVmlinux(await readFile(join(beside, 'deb/boot', `vmlinuz-${release}`)));
    await writeFile(join(beside, 'vmlinux'), vmlinux, { mode: 0o444 });
    await chmod(join(beside, 'vmlinux'), 0o444);
    await copyFile(join(beside, 'deb/boot', `config-${release}`), join(beside, 'config'));
    await mkdir(join(beside, 'lib'), { recursive: true });
    await rename(modules, join(beside, 'lib/modules'));
    await rm(join(beside, 'deb'), { recursive: true });
    await execa('depmod', ['-b', beside, release], { timeout: 60_000 });
    const vmlinuxSha256 = createHash('sha256').update(vmlinux).digest('hex');
    await writeFile(
      join(beside, 'kernel.json'),
      `${JSON.stringify({ ...fields, release, vmlinuxSha256 })}\n`,
    );
    await rename(beside, directory).catch(async (error: NodeJS.ErrnoException) => {
      // Another build was faster: same package version, same content.
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}

async function firstExisting(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths)
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  return undefined;
}
