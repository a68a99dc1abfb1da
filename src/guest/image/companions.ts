import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Data that programs open by themselves, which no ELF header names. */
export interface Companion {
  readonly paths: readonly string[];
  /** Refuses what below these paths is not wanted. */
  readonly keep?: (realPath: string) => boolean;
}

/** What goes along with every set of programs: C.UTF-8, the common terminals, certificates. What this host lacks is left out. */
export function commonCompanions(): Companion[] {
  const terminals = TERMINALS.flatMap((name) =>
    ['/lib/terminfo', '/usr/share/terminfo'].map((directory) => join(directory, name[0] as string, name)),
  );
  const always = [
    '/usr/lib/locale/C.utf8',
    '/usr/share/zoneinfo/UTC',
    '/usr/share/zoneinfo/Etc/UTC',
    '/etc/ssl/certs/ca-certificates.crt',
    '/etc/ssl/openssl.cnf',
  ];
  return [{ paths: [...always, ...terminals].filter(existsSync) }];
}

const TERMINALS = [
  'ansi',
  'dumb',
  'linux',
  'rxvt-unicode-256color',
  'screen',
  'screen-256color',
  'tmux',
  'tmux-256color',
  'vt100',
  'vt220',
  'xterm',
  'xterm-256color',
];

/** What goes along with one program, given by its real path. */
export function companionsOf(realPath: string): Companion[] {
  const name = basename(realPath);
  const prefix = dirname(dirname(realPath));
  const found = TABLE.filter(({ program }) => program.test(name)).map(({ paths, keep }) => ({
    paths: paths(prefix, name).filter(existsSync),
    ...(keep ? { keep } : {}),
  }));
  return found.filter(({ paths }) => paths.length > 0);
}

interface Rule {
  readonly program: RegExp;
  readonly paths: (prefix: string, name: string) => string[];
  readonly keep?: (realPath: string) => boolean;
}

/** Parts of Python's standard library that jobs hardly use and that weigh more than the rest: the tests, IDLE, the static library. */
const PYTHON_UNWANTED =
  /\/(test|tests|idlelib|turtledemo|tkinter|lib2to3|ensurepip|config-3\.[^/]*|pydoc_data|dist-packages)(\/|$)/;

const TABLE: readonly Rule[] = [
  {
    // A Python's standard library lies beside it, whatever its prefix. Third-party packages do not go along: name them with --paths.
    program: /^python3\.\d+$/,
    paths: (prefix, name) => [join(prefix, 'lib', name)],
    keep: (path) => !PYTHON_UNWANTED.test(path),
  },
  {
    program: /^perl(5[\d.]*)?$/,
    paths: () => ['/usr/lib/x86_64-linux-gnu/perl-base'],
  },
  {
    program: /^gawk$/,
    paths: () => ['/usr/lib/x86_64-linux-gnu/gawk', '/usr/share/awk'],
  },
  {
    program: /^(vim|vi)\b/,
    paths: () => ['/etc/vim', '/usr/share/vim'],
  },
];
