import { join } from 'node:path';

import type { RelayRule } from '../relay.ts';

/** Commands that only ask or tell the qmaster. */
const CONTROL = [
  'qstat',
  'qdel',
  'qalter',
  'qhold',
  'qrls',
  'qacct',
  'qhost',
  'qmod',
  'qquota',
  'qselect',
  'qconf',
];

const ONLY_ASK = new Set(['qstat', 'qacct', 'qhost', 'qquota', 'qselect']);

export const GRIDENGINE_COMMANDS: readonly string[] = ['qsub', 'qrsh', ...CONTROL];

/** Options of qsub(1) and qrsh(1) without a value. */
const FLAGS = new Set(
  '-cwd -clear -h -hard -help -notify -soft -terse -V -verify -inherit -nostdin -noshell'.split(' '),
);
/** `-binding [env|pe|set] WHERE`: the first word is optional. */
const BINDING_TARGETS = new Set(['env', 'pe', 'set']);

/** Rules for a Grid Engine command called inside a job. */
export function gridEngineRelayRule(argv: readonly string[], binDir: string): RelayRule {
  const command = argv[0] ?? '';
  if (!GRIDENGINE_COMMANDS.includes(command))
    return { allow: false, message: `${command} cannot be used inside a job` };
  const program = join(binDir, command);
  if (command !== 'qsub')
    return { allow: true, program, script: undefined, startsStep: false, mayRepeat: ONLY_ASK.has(command) };
  const { script, files } = readQsub(argv);
  return {
    allow: true,
    program,
    script,
    scriptError: 'Unable to read script file because of error: error opening PATH: No such file or directory',
    scriptStatus: 14,
    files,
    startsStep: false,
  };
}

/** Index of the script: the first operand, unless `-b y` makes it a command or it is `-` (stdin); and the option files of `-@`. */
function readQsub(argv: readonly string[]): { script: number | undefined; files: string[] } {
  let binary = false;
  const files: string[] = [];
  for (let i = 1; i < argv.length; i++) {
    const word = argv[i] as string;
    if (word === '--' || word === '-') return { script: undefined, files };
    if (!word.startsWith('-')) return { script: binary ? undefined : i, files };
    if (word === '-b') binary = /^y/i.test(argv[i + 1] ?? '');
    if (word === '-@' && argv[i + 1] !== undefined) files.push(argv[i + 1] as string);
    i += valuesOf(argv, i);
  }
  return { script: undefined, files };
}

/** How many words behind the option at `i` are its own. */
function valuesOf(argv: readonly string[], i: number): number {
  const word = argv[i] as string;
  if (FLAGS.has(word)) return 0;
  if (word === '-pe') return 2;
  if (word === '-binding') return BINDING_TARGETS.has(argv[i + 1] ?? '') ? 2 : 1;
  return 1;
}
