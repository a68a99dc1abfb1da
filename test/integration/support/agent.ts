import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { until } from '../../lab/process.ts';

export const AGENT_PROGRAM = fileURLToPath(new URL('../../../build/caddis-init', import.meta.url));

/** `caddis-init --agent DIR` on this machine: the guest's agent without a guest. */
export class AgentProcess {
  readonly dir: string;
  readonly #child: ChildProcess;
  log = '';

  private constructor(dir: string, child: ChildProcess) {
    this.dir = dir;
    this.#child = child;
    child.stderr?.on('data', (chunk: Buffer) => {
      this.log = (this.log + chunk.toString()).slice(-20_000);
    });
  }

  /** A short directory of its own: unix socket paths end at 107 bytes. */
  static async start(): Promise<AgentProcess> {
    const dir = await mkdtemp(join(tmpdir(), 'caddis-agent-'));
    const child = spawn(AGENT_PROGRAM, ['--agent', dir], { stdio: ['ignore', 'ignore', 'pipe'] });
    const agent = new AgentProcess(dir, child);
    await until('the agent to listen', async () => existsSync(join(dir, 'bulk')), { timeoutMs: 10_000 });
    return agent;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, 'exit');
      this.#child.kill('SIGKILL');
      await ended;
    }
    await rm(this.dir, { recursive: true, force: true });
  }
}
