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

export const GRIDENGINE_COMMANDS: readonly string[] = ['qsub', 'qrsh', ...CONTROL];

/** Options of qsub(1) and qrsh(1) without a value. */
const FLAGS = new Set(
  '-cwd -clear -h -hard -help -notify -soft -terse -V -verify -inherit -nostdin -noshell'.split(' '),
);

/** Rules for a Grid Engine command called inside a job. */
export function gridEngineRelayRule(argv: readonly string[], binDir: string): RelayRule {
  const command = argv[0] ?? '';
  if (!GRIDENGINE_COMMANDS.includes(command))
    return { allow: false, message: `${command} cannot be used inside a job` };
  const program = join(binDir, command);
  if (command === 'qsub') return { allow: true, program, script: qsubScript(argv), usesWorkDir: true };
  return { allow: true, program, script: undefined, usesWorkDir: command === 'qrsh' };
}

/** Index of the script: the first operand, unless `-b y` makes it a command or it is `-` (stdin). */
function qsubScript(argv: readonly string[]): number | undefined {
  let binary = false;
  for (let i = 1; i < argv.length; i++) {
    const word = argv[i] as string;
    if (word === '--') return undefined;
    if (word === '-' || word === '-@') return undefined;
    if (!word.startsWith('-')) return binary ? undefined : i;
    if (word === '-b') binary = /^y/i.test(argv[i + 1] ?? '');
    if (!FLAGS.has(word)) i += 1;
  }
  return undefined;
}
