import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import * as z from 'zod';

import { CaddisError } from '../model/errors.ts';
import type { StoreIo } from './io.ts';
import { nodesDirectory } from './layout.ts';
import { demandDirectory, unless } from './tree.ts';

const beatSchema = z.object({
  bootId: z.string(),
  /** Drawn by each caddisd: its counter begins again. */
  session: z.string(),
  counter: z.number().int().nonnegative(),
  released: z.boolean(),
});

/** What a node says of itself in `nodes/<host>`. It holds no time: nobody believes another's clock. */
export type Beat = z.infer<typeof beatSchema>;

/** A node's sign of life: one small file that is replaced by rename, so that a reader sees a whole one. Not synced: a beat that a crash loses is one beat. */
export class Heartbeat {
  readonly #io: StoreIo;
  readonly #store: string;
  readonly #host: string;
  readonly #bootId: string;
  readonly #session = randomBytes(6).toString('hex');
  #counter = 0;

  constructor(io: StoreIo, store: string, node: { readonly host: string; readonly bootId: string }) {
    this.#io = io;
    this.#store = store;
    this.#host = node.host;
    this.#bootId = node.bootId;
  }

  /** To be called before the first claim and then every checkpoint.heartbeat seconds. Throws StoreUnavailable: the node must then expect that others take its jobs over after the lease. */
  beat(): Promise<void> {
    return this.#write(false);
  }

  /** Says that this node has no machine left and will not beat again until it has: its claims may be overtaken at once. */
  release(): Promise<void> {
    return this.#write(true);
  }

  async #write(released: boolean): Promise<void> {
    const path = heartbeatPath(this.#store, this.#host);
    this.#counter += 1;
    const beat: Beat = {
      bootId: this.#bootId,
      session: this.#session,
      counter: this.#counter,
      released,
    };
    await demandDirectory(this.#io, nodesDirectory(this.#store));
    const unique = join(nodesDirectory(this.#store), `.${this.#host}-${randomBytes(6).toString('hex')}`);
    await this.#io.create(unique, Buffer.from(`${JSON.stringify(beat)}\n`));
    await this.#io.rename(unique, path);
  }
}

/** Undefined when there is none, or what is there was torn by a crash: no news. */
export async function readBeat(io: StoreIo, store: string, host: string): Promise<Beat | undefined> {
  const content = await io.read(heartbeatPath(store, host), 4096).catch(unless('ENOENT'));
  if (!content) {
    await demandDirectory(io, nodesDirectory(store));
    return undefined;
  }
  try {
    return beatSchema.parse(JSON.parse(Buffer.from(content).toString('utf8')));
  } catch {
    return undefined;
  }
}

function heartbeatPath(store: string, host: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(host))
    throw new CaddisError(`"${host}" is no host name: expected letters, digits, dots and dashes`);
  return join(nodesDirectory(store), host);
}
