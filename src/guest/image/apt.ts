import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { CaddisError } from '../../model/errors.ts';

/** A package file as `apt-get --print-uris` names it. */
export interface DebFile {
  readonly uri: string;
  readonly fileName: string;
  readonly bytes: number;
  /** `SHA256:...`, `MD5Sum:...`, or undefined for a repository that gives none. */
  readonly hash: string | undefined;
}

/**
 * Fetches packages by the node's own apt configuration (mirrors, keys, pins) and returns the paths of their files. With `dependencies` the
 * whole closure comes, worked out as if nothing were installed, so that the result does not depend on what the node has.
 * Files that are there already are not fetched again. Throws with apt's own message.
 */
export async function fetchDebs(
  packages: readonly string[],
  options: { readonly directory: string; readonly dependencies: boolean; readonly signal?: AbortSignal },
): Promise<string[]> {
  const { directory } = options;
  await mkdir(directory, { recursive: true });
  const files = await resolveDebs(packages, options);
  const absent: DebFile[] = [];
  for (const file of files) if (!(await alreadyThere(file, directory))) absent.push(file);
  if (absent.length > 0) {
    const specs = absent.map(packageSpec);
    await apt(['download', ...specs], {
      cwd: directory,
      ...(options.signal ? { signal: options.signal } : {}),
    });
  }
  for (const file of files) await verify(file, join(directory, file.fileName));
  return files.map((file) => join(directory, file.fileName));
}

/** What would be fetched, sorted by file name. */
export async function resolveDebs(
  packages: readonly string[],
  { dependencies, signal }: { readonly dependencies: boolean; readonly signal?: AbortSignal },
): Promise<DebFile[]> {
  for (const name of packages)
    if (!/^[a-z0-9][a-z0-9+.:-]*(=[A-Za-z0-9.+~:-]+)?$/.test(name))
      throw new CaddisError(
        `package name: expected something like "python3" or "bash=5.2-1", got ${JSON.stringify(name)}`,
      );
  const empty = await mkdtemp(join(tmpdir(), 'caddis-apt-'));
  try {
    await mkdir(join(empty, 'partial'));
    const verb = dependencies
      ? [
          'install',
          '--yes',
          '--no-install-recommends',
          '-o',
          'Dir::State::status=/dev/null',
          '-o',
          'Dir::State::extended_states=/dev/null',
          '-o',
          // Else files in the node's own cache would be left out of the answer.
          `Dir::Cache::archives=${empty}/`,
          '-o',
          'Debug::NoLocking=1',
        ]
      : ['download'];
    const stdout = await apt([...verb, '--print-uris', ...packages], signal ? { signal } : {});
    return parseUris(stdout);
  } finally {
    await rm(empty, { recursive: true, force: true });
  }
}

export function parseUris(text: string): DebFile[] {
  const files: DebFile[] = [];
  for (const line of text.split('\n')) {
    const match = /^'([^']+)' (\S+\.deb) (\d+) ?(\S+:\S+)?$/.exec(line.trim());
    if (match)
      files.push({ uri: match[1] ?? '', fileName: match[2] ?? '', bytes: Number(match[3]), hash: match[4] });
  }
  return files.sort((a, b) => (a.fileName < b.fileName ? -1 : 1));
}

/** `bash_5.2.15-2%2bb8_amd64.deb` -> `bash=5.2.15-2+b8`: the very version that was resolved. */
export function packageSpec({ fileName }: Pick<DebFile, 'fileName'>): string {
  const [name = '', version = '', architecture = ''] = fileName.replace(/\.deb$/, '').split('_');
  const qualified = architecture === 'all' ? name : `${name}:${architecture}`;
  return `${qualified}=${decodeURIComponent(version)}`;
}

async function apt(
  args: readonly string[],
  { cwd, signal }: { cwd?: string; signal?: AbortSignal },
): Promise<string> {
  const { stdout } = await execa('apt-get', ['-q', '-o', 'APT::Sandbox::User=root', ...args], {
    ...(cwd ? { cwd } : {}),
    ...(signal ? { cancelSignal: signal } : {}),
    env: { LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
    stdin: 'ignore',
    timeout: 300_000,
  });
  return stdout;
}

/** Also looks into the node's own apt cache, which spares a download. */
async function alreadyThere(file: DebFile, directory: string): Promise<boolean> {
  const path = join(directory, file.fileName);
  if (await hasBytes(path, file.bytes)) return true;
  const aptCopy = join('/var/cache/apt/archives', file.fileName);
  if (!(await hasBytes(aptCopy, file.bytes))) return false;
  await copyFile(aptCopy, `${path}.part`);
  await rename(`${path}.part`, path);
  return true;
}

async function hasBytes(path: string, bytes: number): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.size === bytes;
}

async function verify(file: DebFile, path: string): Promise<void> {
  const [algorithm, expected] = file.hash?.split(':') ?? [];
  const known = { SHA512: 'sha512', SHA256: 'sha256', SHA1: 'sha1', MD5Sum: 'md5' }[algorithm ?? ''];
  if (!known || !expected) return;
  const found = createHash(known)
    .update(await readFile(path))
    .digest('hex');
  if (found === expected) return;
  await rm(path, { force: true });
  throw new CaddisError(
    `${path}: expected ${algorithm} ${expected}, got ${found}; the file was removed, try again`,
  );
}
