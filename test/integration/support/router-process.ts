import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export interface RouterMessage {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** The process in which caddisd's data path runs, and what it reported. */
export class RouterProcess {
  readonly messages: RouterMessage[] = [];
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (message: RouterMessage) => this.messages.push(message));
  }

  static async start(agentDir: string, hookPath: string): Promise<RouterProcess> {
    const script = fileURLToPath(new URL('./router-child.ts', import.meta.url));
    const child = fork(script, [agentDir, hookPath], { execArgv: ['--import', 'tsx'] });
    const router = new RouterProcess(child);
    await router.next('listening', 20_000);
    return router;
  }

  count(event: string): number {
    return this.messages.filter((message) => message.event === event).length;
  }

  reset(): void {
    this.#child.send({ ask: 'reset' });
  }

  async usage(): Promise<{ cpuMicroseconds: number; rssBytes: number }> {
    const answer = this.next('usage', 10_000);
    this.#child.send({ ask: 'usage' });
    const { cpuMicroseconds, rssBytes } = await answer;
    return { cpuMicroseconds: Number(cpuMicroseconds), rssBytes: Number(rssBytes) };
  }

  /** The next message of this kind. Rejects after `timeoutMs` or when the process ends. */
  async next(event: string, timeoutMs: number): Promise<RouterMessage> {
    const signal = AbortSignal.timeout(timeoutMs);
    for (;;) {
      const [message] = (await once(this.#child, 'message', { signal })) as [RouterMessage];
      if (message.event === event) return message;
    }
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}
