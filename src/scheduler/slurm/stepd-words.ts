import type { RunCommand } from '../run-program.ts';

/** How long slurmctld may take to say how it was built. */
const ASK_TIMEOUT_MS = 10_000;

/** Where musl in the guest and glibc on the host say an errno in other words (those that an execve(2) can end with). */
const GLIBC_WORDS: Readonly<Record<string, string>> = {
  'I/O error': 'Input/output error',
  'Out of memory': 'Cannot allocate memory',
  'Symbolic link loop': 'Too many levels of symbolic links',
  'Filename too long': 'File name too long',
};

/** What slurmstepd says in a step's stderr, in its own words. */
export class StepdWords {
  readonly #node: string;
  readonly #run: RunCommand;
  #isMultiple: boolean | undefined;

  constructor(node: string, run: RunCommand) {
    this.#node = node;
    this.#run = run;
  }

  /** `slurmstepd: error: `; a Slurm built with MULTIPLE_SLURMD (as Debian's) says which node, too: `node`, where it is not the host's own. */
  errorPrefix(node = this.#node): string {
    const name = this.#isMultiple ? `slurmstepd-${node}` : 'slurmstepd';
    return `${name}: error: `;
  }

  /** Asks once how this Slurm was built; while there is no answer the prefix is the common one, and the next job asks again. */
  async learn(): Promise<void> {
    if (this.#isMultiple !== undefined) return;
    const text = await this.#run(['scontrol', 'show', 'config'], AbortSignal.timeout(ASK_TIMEOUT_MS)).catch(
      () => '',
    );
    if (text === '') return;
    this.#isMultiple = /^MULTIPLE_SLURMD\s*=\s*Yes/im.test(text);
  }

  /** exec_task in slurmstepd's task.c: prints `execve(): PATH: reason` and ends with errno. `message` is the guest's `execve(): PATH: reason`. */
  readonly sayNotStarted = ({ errno, message }: { readonly errno: number; readonly message: string }) => {
    const at = message.lastIndexOf(': ') + 2;
    const reason = message.slice(at);
    return {
      message: `${this.errorPrefix()}${message.slice(0, at)}${GLIBC_WORDS[reason] ?? reason}`,
      status: errno & 0xff,
    };
  };
}
