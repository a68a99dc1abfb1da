/**
 * Scheduler commands that are called inside a job run on the host, beside the step's shim and as the job's user. What may run, and how, is ruled per
 * command by the scheduler's adapter; everything else about the call (stdio, signals, exit status) is carried unchanged.
 */
export type RelayRule =
  | {
      readonly allow: true;
      /** Absolute path of the real program on the host. */
      readonly program: string;
      /** What runs in place of the call as it was typed. */
      readonly argv?: readonly string[];
      /** Index in argv of a script that the command will read: carried out of the guest when it lies in a directory that the host does not share. */
      readonly script: number | undefined;
      /** What the command would print when it could not read that script; `PATH` stands for its name. */
      readonly scriptError?: string;
      /** The status it would end with then. */
      readonly scriptStatus?: number;
      /** Other files that the command itself would open on the host: refused when the host does not share them. */
      readonly files?: readonly string[];
      /** True when the command's working directory becomes that of a step of this job, which may have a directory that the host has not. */
      readonly startsStep: boolean;
      /** What a variable's name must begin with to reach such a step whatever its user says of the environment. */
      readonly stepVariablePrefix?: string;
      /** The job puts itself back into the queue: as natively, to run again from its beginning. */
      readonly putsJobBack?: boolean;
      /** It may be run a second time when the first was cut off by a move: it only asks, or its steps are found again. */
      readonly mayRepeat?: boolean;
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
export function hasLongOption(
  argv: readonly string[],
  table: OptionTable,
  names: readonly string[],
): boolean {
  const end = firstOperand(argv, table) ?? argv.length;
  return argv.slice(1, end).some((word) => {
    const given = /^--([a-z-]+)/.exec(word)?.[1] ?? '';
    return names.some((name) => isShortFor(given, name));
  });
}

/** getopt_long(3) takes any beginning of a long option that means no other. What means several it refuses: nothing hangs on whether we do. */
function isShortFor(given: string, name: string): boolean {
  return given === name || (given.length > 1 && name.startsWith(given));
}

/** Values of the options before the first operand that are called by one of `names` (one letter: short; else long). */
export function optionValues(
  argv: readonly string[],
  table: OptionTable,
  names: readonly string[],
): string[] {
  const end = firstOperand(argv, table) ?? argv.length;
  const found: string[] = [];
  for (let i = 1; i < end; i++) {
    const word = argv[i] as string;
    if (word === '--') break;
    const { name, value } = optionOf(word, table);
    const next = takesNextWord(word, table);
    const given = next ? argv[i + 1] : value;
    if (name !== undefined && names.includes(name) && given !== undefined) found.push(given);
    if (next) i += 1;
  }
  return found;
}

/** The option of this word that may have a value, and the value if it is attached. */
function optionOf(word: string, table: OptionTable): { name?: string; value?: string } {
  const long = /^--([A-Za-z-]+)(?:=(.*))?$/s.exec(word);
  if (long) return { name: long[1] as string, ...(long[2] === undefined ? {} : { value: long[2] }) };
  const at = [...word].findIndex((letter, i) => i > 0 && table.shortWithValue.includes(letter));
  if (at < 1) return {};
  return { name: word[at] as string, ...(at < word.length - 1 ? { value: word.slice(at + 1) } : {}) };
}

function takesNextWord(word: string, table: OptionTable): boolean {
  if (word.startsWith('--'))
    return !word.includes('=') && ![...table.longFlags].some((flag) => isShortFor(word.slice(2), flag));
  // `-vn4`: flags may be bundled; the first letter with a value takes the rest of the word, or the next one.
  for (let i = 1; i < word.length; i++)
    if (table.shortWithValue.includes(word[i] as string)) return i === word.length - 1;
  return false;
}
