import { spawn } from 'node:child_process';

import type { Lab } from '../../lab/host.ts';
import { shellCommand } from '../../lab/shell.ts';

export interface Typed {
  /** Typed once the terminal shows this. */
  readonly after: RegExp;
  readonly text: string;
}

/**
 * Runs a command on the head as a user sees it: with a terminal of its own (script(1) makes it), typing each text once what it waits for has been shown. Resolves to all that the
 * terminal showed. Rejects after `timeoutMs` with what it showed until then.
 */
export async function atTerminal(
  lab: Lab,
  command: string,
  typed: readonly Typed[],
  options: { user?: string; timeoutMs?: number } = {},
): Promise<string> {
  const { user = 'alice', timeoutMs = 120_000 } = options;
  const [file, ...args] = await shellCommand(lab, {
    host: 'head',
    user,
    command: ['script', '-qefc', `stty rows 33 cols 101; ${command}`, '/dev/null'],
  });
  const child = spawn(file as string, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const waiting = [...typed];
  let shown = '';
  let searched = 0;
  const take = (chunk: Buffer) => {
    shown += chunk.toString('utf8');
    const next = waiting[0];
    const match = next?.after.exec(shown.slice(searched));
    if (!next || !match) return;
    searched += match.index + match[0].length;
    waiting.shift();
    child.stdin.write(next.text);
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  child.stdin.on('error', () => undefined);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${command}: not done after ${timeoutMs} ms; the terminal showed:\n${shown}`));
    }, timeoutMs);
    child.once('error', reject);
    child.once('close', () => {
      clearTimeout(timer);
      resolve(shown.replaceAll('\r', '').replaceAll('\u001b[?2004h', '').replaceAll('\u001b[?2004l', ''));
    });
  });
}
