import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

/** What depmod knows of a kernel's modules. Names have underscores, paths are relative to /lib/modules/RELEASE. */
export interface ModuleIndex {
  readonly paths: ReadonlyMap<string, string>;
  /** Path -> all modules it needs, in the order in which they must be loaded. */
  readonly needs: ReadonlyMap<string, readonly string[]>;
  readonly builtin: ReadonlySet<string>;
  readonly aliases: ReadonlyMap<string, readonly string[]>;
  /** Name -> names (or aliases) that should be loaded before it. */
  readonly softBefore: ReadonlyMap<string, readonly string[]>;
}

/** Picks modules with all they need, in loading order. `missing` are names that this kernel has neither as a module nor built in. */
export function selectModules(
  index: ModuleIndex,
  names: readonly string[],
): { readonly paths: readonly string[]; readonly missing: readonly string[] } {
  const chosen = new Set<string>();
  const missing: string[] = [];
  const visiting = new Set<string>();
  const add = (wanted: string): boolean => {
    const name = moduleName(wanted);
    const path = index.paths.get(name) ?? aliased(index, wanted);
    if (path === undefined) return index.builtin.has(name);
    if (chosen.has(path) || visiting.has(path)) return true;
    visiting.add(path);
    for (const needed of [...(index.needs.get(path) ?? []), path]) {
      for (const soft of index.softBefore.get(moduleName(needed)) ?? []) add(soft);
      chosen.add(needed);
    }
    return true;
  };
  for (const name of names) if (!add(name)) missing.push(name);
  return { paths: [...chosen], missing };
}

/** Reads the tables that depmod wrote below `directory` (= .../lib/modules/RELEASE). */
export async function readModuleIndex(directory: string): Promise<ModuleIndex> {
  const [dep, builtin, alias, softdep] = await Promise.all(
    ['modules.dep', 'modules.builtin', 'modules.alias', 'modules.softdep'].map((name) =>
      readFile(join(directory, name), 'utf8'),
    ),
  );
  return parseModuleIndex({
    dep: dep ?? '',
    builtin: builtin ?? '',
    alias: alias ?? '',
    softdep: softdep ?? '',
  });
}

export function parseModuleIndex(files: {
  dep: string;
  builtin: string;
  alias: string;
  softdep: string;
}): ModuleIndex {
  const paths = new Map<string, string>();
  const needs = new Map<string, readonly string[]>();
  for (const line of lines(files.dep)) {
    const [path = '', needed = ''] = line.split(':');
    paths.set(moduleName(path), path);
    // depmod(8) lists the nearest dependency first; loading goes the other way.
    needs.set(path, needed.split(' ').filter(Boolean).reverse());
  }
  const aliases = new Map<string, string[]>();
  for (const line of lines(files.alias)) {
    const [keyword, pattern = '', target = ''] = line.split(' ');
    // Patterns are for devices; only plain names (`crypto-crc32c`, `fs-nfs4`) can be asked for.
    if (keyword === 'alias' && !pattern.includes('*'))
      aliases.set(pattern, [...(aliases.get(pattern) ?? []), target]);
  }
  const softBefore = new Map<string, readonly string[]>();
  for (const line of lines(files.softdep)) {
    const match = /^softdep (\S+) pre: (.*?)(?: post:.*)?$/.exec(line);
    if (match?.[1] && match[2]) softBefore.set(moduleName(match[1]), match[2].split(' '));
  }
  return { paths, needs, builtin: new Set(lines(files.builtin).map(moduleName)), aliases, softBefore };
}

/** `kernel/fs/nfs/nfs.ko` -> `nfs`; `dm-mod` -> `dm_mod`: the kernel does not tell the two dashes apart. */
function moduleName(pathOrName: string): string {
  return basename(pathOrName)
    .replace(/\.ko(\.(xz|gz|zst))?$/, '')
    .replaceAll('-', '_');
}

/** One name per line, `#` starts a comment. */
export function parseModuleList(text: string): string[] {
  return lines(text.replace(/#.*$/gm, '')).map((line) => line.trim());
}

/** Several modules may serve an alias (crc32c by table, by SSE 4.2): the generic one works on every CPU that a guest may move to. */
function aliased(index: ModuleIndex, alias: string): string | undefined {
  const targets = index.aliases.get(alias) ?? [];
  const target = targets.find((name) => name.endsWith('_generic')) ?? targets[0];
  return target === undefined ? undefined : index.paths.get(moduleName(target));
}

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
}
