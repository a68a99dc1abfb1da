import { type Decision, decide, defaultPolicy, type JsvPolicy } from './decide.ts';
import type { Submission } from './submission.ts';

/** Values of one job are at most a command line; more than this many lines is no job (bounds what garbage can make us keep). */
const PARAMS_MAX = 1000;

/**
 * The JSV protocol (jsv(1)), one line in, lines out; no I/O. Whatever it is sent it answers a BEGIN with a RESULT: a JSV that stays silent
 * holds up every submission of the cell.
 */
export class JsvProtocol {
  #params = new Map<string, string>();
  #open = false;
  readonly #policy: JsvPolicy;

  constructor(policy: JsvPolicy = defaultPolicy) {
    this.#policy = policy;
  }

  /** Answers one line. `quit`: the qmaster wants us to end. */
  receive(line: string): { readonly answers: readonly string[]; readonly quit: boolean } {
    const [command, rest] = splitWord(line.replace(/\r$/, ''));
    switch (command) {
      case 'START':
        this.#params.clear();
        this.#open = true;
        return { answers: ['STARTED'], quit: false };
      case 'PARAM':
        if (this.#params.size < PARAMS_MAX) this.#params.set(...splitWord(rest));
        return { answers: [], quit: false };
      case 'BEGIN': {
        const answers = this.#open
          ? answer(
              decide(submissionOf(this.#params), this.#policy),
              contextOf(this.#params),
              this.#params.get('ac'),
            )
          : ['RESULT STATE ACCEPT'];
        this.#open = false;
        this.#params.clear();
        return { answers, quit: false };
      }
      case 'QUIT':
        return { answers: [], quit: true };
      default:
        // SEND and ENV need no answer, and an unknown word must not end the conversation.
        return { answers: [], quit: false };
    }
  }
}

/** qsub itself prints what its own JSV (`-jsv`) logs; a qmaster's goes into its log, so there it is a note on the job (qstat -j). */
type Context = 'client' | 'server';

function contextOf(params: ReadonlyMap<string, string>): Context {
  return params.get('CONTEXT') === 'client' ? 'client' : 'server';
}

function adviceLines(advice: string | undefined, context: Context, notes: string | undefined): string[] {
  if (advice === undefined) return [];
  if (context === 'client') return [`LOG INFO ${advice}`];
  // A value of a job's context has no blanks, commas or equal signs (qsub(1), -ac).
  const note = `caddis=${advice.replace(/^caddis: /, '').replace(/[^A-Za-z0-9.:;-]+/g, '_')}`;
  return [`PARAM ac ${notes ? `${notes},` : ''}${note}`];
}

function answer(decision: Decision, context: Context, notes: string | undefined): string[] {
  switch (decision.state) {
    case 'reject':
      return [`RESULT STATE REJECT ${decision.reason.replaceAll('\n', ' ')}`];
    case 'correct': {
      const lines: string[] = [];
      if (decision.hard) lines.push(`PARAM l_hard ${formatList(decision.hard)}`.trimEnd());
      if (decision.checkpointEnvironment !== undefined)
        lines.push(`PARAM ckpt ${decision.checkpointEnvironment}`);
      if (decision.queues) lines.push(`PARAM q_hard ${decision.queues.join(',')}`);
      for (const [name, value] of Object.entries(decision.env)) lines.push(`ENV ADD ${name} ${value}`);
      return [...lines, ...adviceLines(decision.advice, context, notes), 'RESULT STATE CORRECT'];
    }
  }
}

function submissionOf(params: ReadonlyMap<string, string>): Submission {
  const rerun = params.get('r');
  return {
    hard: parseList(params.get('l_hard')),
    queues: (params.get('q_hard') ?? '').split(',').filter((queue) => queue !== ''),
    checkpointEnvironment: params.get('ckpt'),
    rerun: rerun === 'y' || rerun === 'n' ? rerun : undefined,
    notify: params.get('notify') === 'y',
    parallelEnvironment: params.get('pe_name'),
    interactive: /^(QRSH|QLOGIN|QSH|QRLOGIN|INTERACTIVE)$/.test(params.get('CMDNAME') ?? ''),
    slots: Number(params.get('pe_max') ?? params.get('pe_min') ?? 1) || 1,
  };
}

/** `a=1,b` as a map; a name without a value is a flag that is TRUE. */
function parseList(text = ''): Map<string, string> {
  const items = text.split(',').filter((item) => item !== '');
  return new Map(
    items.map((item) => {
      const at = item.indexOf('=');
      return at < 0 ? [item, 'TRUE'] : [item.slice(0, at), item.slice(at + 1)];
    }),
  );
}

function formatList(list: ReadonlyMap<string, string>): string {
  return [...list].map(([name, value]) => `${name}=${value}`).join(',');
}

function splitWord(text: string): [string, string] {
  const at = text.indexOf(' ');
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
