import { messageOf } from '../model/errors.ts';
import type { HookServer } from './hook-server.ts';
import { identityOf } from './identity.ts';
import type { Log } from './log.ts';
import { userSocket } from './places.ts';

/** Users of one node whose jobs have ended there, at most. */
const MOST = 1_000;

/** Where users ask for their own jobs: a socket each, which the kernel opens to nobody else. */
export class UserSockets {
  readonly #server: HookServer;
  readonly #runDir: string;
  readonly #log: Log;
  /** Uids that have one. */
  readonly #open = new Set<number>();

  constructor(server: HookServer, runDir: string, log: Log) {
    this.#server = server;
    this.#runDir = runDir;
    this.#log = log;
  }

  /** For all whose jobs have ended here. */
  async openAll(jobs: { users(): Promise<Iterable<number>> }): Promise<void> {
    for (const uid of await jobs.users().catch(() => [])) await this.open(uid);
  }

  /** Never rejects: a user without one asks in vain, and the log says why. */
  async open(uid: number): Promise<void> {
    if (this.#open.has(uid) || uid === 0 || this.#open.size >= MOST) return;
    this.#open.add(uid);
    try {
      const { gid } = await identityOf(uid);
      await this.#server.listen({ path: userSocket(this.#runDir, uid), owner: { uid, gid } });
    } catch (error) {
      this.#open.delete(uid);
      this.#log.warn(`user ${uid} cannot ask for its jobs: ${messageOf(error)}`);
    }
  }
}
