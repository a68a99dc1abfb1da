/**
 * Scheduler commands that are called inside a job run on the host, beside the step's shim and as the job's user. What may run, and how, is ruled per
 * command by the scheduler's adapter; everything else about the call (stdio, signals, exit status) is carried unchanged.
 */
export type RelayRule =
  | {
      readonly allow: true;
      /** Absolute path of the real program on the host. */
      readonly program: string;
      /** Index in argv of a script that the command will read: carried out of the guest when the host does not have it. */
      readonly script: number | undefined;
      /** True when the command's working directory becomes that of a job or step. */
      readonly usesWorkDir: boolean;
    }
  | { readonly allow: false; readonly message: string };

/** How a command's options are told from its operands. */
export interface OptionTable {
  /** Short options (one letter, no dash) that take a value, attached or as the next word. */
  readonly shortWithValue: string;
  /** Long options (no dashes) that take no value as a next word; all others take one unless written with `=`. */
  readonly longFlags: ReadonlySet<string>;
}

/** Index of the first operand in argv (index 0 is the command), or undefined. `--` ends the options. */
export function firstOperand(argv: readonly string[], table: OptionTable): number | undefined {
  for (let i = 1; i < argv.length; i++) {
    const word = argv[i] as string;
    if (word === '--') return i + 1 < argv.length ? i + 1 : undefined;
    if (!word.startsWith('-') || word === '-') return i;
    if (takesNextWord(word, table)) i += 1;
  }
  return undefined;
}

/** True when any of `names` (long options without dashes) is given before the first operand. */
export function hasLongOption(argv: readonly string[], table: OptionTable, names: readonly string[]): boolean {
  const end = firstOperand(argv, table) ?? argv.length;
  return argv.slice(1, end).some((word) => names.includes(/^--([a-z-]+)/.exec(word)?.[1] ?? ''));
}

function takesNextWord(word: string, table: OptionTable): boolean {
  if (word.startsWith('--')) return !word.includes('=') && !table.longFlags.has(word.slice(2));
  // `-vn4`: flags may be bundled; the first letter with a value takes the rest of the word, or the next one.
  for (let i = 1; i < word.length; i++)
    if (table.shortWithValue.includes(word[i] as string)) return i === word.length - 1;
  return false;
}
