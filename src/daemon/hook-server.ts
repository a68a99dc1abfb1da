import { randomInt } from 'node:crypto';
import { chownSync, lstatSync, readFileSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';

import { DocumentAssembler } from '../guest/protocol/document-frames.ts';
import { parseOpen } from '../guest/protocol/open-document.ts';
import { FrameType, ProtocolError, Stream } from '../guest/protocol/types.ts';
import { TextProcess } from '../guest/sessions/text-process.ts';
import { CaddisError, messageOf } from '../model/errors.ts';
import type { HookCall } from '../model/job.ts';
import { HookPeer } from './peer.ts';

/** How one call of caddis-hook is answered: by text and a status, or (`exec`) by handing `peer` to a session router. */
export interface HookClient {
  /** For SessionRouter.open or .attach; after it was taken, stdout, stderr and exit are of no use. */
  readonly peer: HookPeer;
  /** Aborted when the client's connection has ended. */
  readonly signal: AbortSignal;
  stdout(text: string): void;
  stderr(text: string): void;
  /** Ends the call; further output is dropped. */
  exit(code: number): void;
}

export interface HookSocket {
  readonly path: string;
  /** Who may connect (0600): root for hook.sock, the job's user for a step.sock. */
  readonly owner: { readonly uid: number; readonly gid: number };
}

export interface HookServerOptions {
  /** Called once for each well-formed call. What it throws goes to the client's stderr with status 1. */
  readonly handler: (call: HookCall, client: HookClient, socket: HookSocket) => Promise<void> | void;
  /** A client's bad input, for the log. */
  readonly rejected?: (socket: HookSocket, reason: string) => void;
  /** For the OPEN to arrive; default 5 s. */
  readonly openDeadlineMs?: number;
  /** Of one socket at a time; default 64. */
  readonly mostOpening?: number;
}

/** A node's hooks and steps at a time, several times over. */
const MOST_CLIENTS_PER_SOCKET = 2048;
const OPEN_DEADLINE_MS = 5000;
/** Of a socket, whose OPENs are read at a time: each may take some MiB of memory before it says anything. The others wait in their sockets. */
const MOST_OPENING = 64;

/**
 * Listens for caddis-hook on any number of unix sockets. Node has no SO_PEERCRED, so the socket's owner and mode (0600) are what keeps others out; the PID in
 * the document is checked against /proc to be a process of the uid that the document names, and that uid must be the socket's owner or root.
 */
export class HookServer {
  readonly #options: HookServerOptions;
  readonly #servers = new Map<string, Server>();
  /** Also those of sockets that are no more. */
  readonly #clients = new Set<HookPeer>();

  constructor(options: HookServerOptions) {
    this.#options = options;
  }

  /** Begins to listen; a stale socket is replaced. Throws CaddisError when something else, or a live server, is there. */
  async listen(socket: HookSocket): Promise<void> {
    await removeStale(socket.path);
    const opening = new Places(this.#options.mostOpening ?? MOST_OPENING);
    const server = createServer((connection) => this.#accept(connection, socket, opening));
    server.maxConnections = MOST_CLIENTS_PER_SOCKET;
    // bind(2) happens inside listen(): with this mask nobody can connect before the owner is set.
    const mask = process.umask(0o177);
    try {
      const listening = new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(socket.path, resolve);
      });
      process.umask(mask);
      await listening;
      chownSync(socket.path, socket.owner.uid, socket.owner.gid);
    } catch (error) {
      server.close();
      throw new CaddisError(`cannot listen on ${socket.path}: ${messageOf(error)}`, { cause: error });
    } finally {
      process.umask(mask);
    }
    server.on('error', (error) => this.#options.rejected?.(socket, error.message));
    this.#servers.set(socket.path, server);
  }

  /** Stops listening on a socket and removes it. Who is connected stays so: there may be something left to say. Nothing happens when it is not there. */
  unlisten(path: string): void {
    const server = this.#servers.get(path);
    if (!server) return;
    this.#servers.delete(path);
    server.close();
    removeSocket(path);
  }

  /** Stops listening on all sockets and ends all clients. */
  close(): void {
    for (const path of [...this.#servers.keys()]) this.unlisten(path);
    for (const client of this.#clients) client.close('caddisd is stopping');
  }

  #accept(connection: Socket, socket: HookSocket, opening: Places): void {
    const peer = new HookPeer(connection, (reason) => this.#options.rejected?.(socket, reason));
    this.#clients.add(peer);
    connection.once('close', () => this.#clients.delete(peer));
    peer.pause();
    opening.take((leave) => {
      peer.resume();
      this.#open(peer, socket, leave);
    });
  }

  /** `opened` is called when its OPEN is there, or never will be. */
  #open(peer: HookPeer, socket: HookSocket, opened: () => void): void {
    const documents = new DocumentAssembler(1);
    const deadline = setTimeout(
      () => peer.close('no whole OPEN within the deadline'),
      this.#options.openDeadlineMs ?? OPEN_DEADLINE_MS,
    );
    const done = () => {
      clearTimeout(deadline);
      opened();
    };
    peer.attach({
      frame: (frame) => {
        if (frame.type !== FrameType.Open || frame.session !== 0n)
          throw new ProtocolError(
            `expected OPEN of session 0, got frame type ${frame.type} of ${frame.session}`,
          );
        const document = documents.take(frame);
        if (!document) return;
        done();
        peer.detach();
        const call = parseOpen(document);
        checkCaller(call, socket);
        peer.pid = call.pid;
        void this.#handle(call, peer, socket);
      },
      closed: done,
    });
  }

  async #handle(call: HookCall, peer: HookPeer, socket: HookSocket): Promise<void> {
    const client = new TextClient(peer);
    try {
      await this.#options.handler(call, client, socket);
    } catch (error) {
      this.#options.rejected?.(socket, `${call.verb}: ${messageOf(error)}`);
      client.stderr(`caddis: ${messageOf(error)}\n`);
      client.exit(1);
    }
  }
}

/** Places of which each is left once; whoever finds none waits for one. */
class Places {
  #free: number;
  readonly #waiting: ((leave: () => void) => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  take(enter: (leave: () => void) => void): void {
    if (this.#free === 0) {
      this.#waiting.push(enter);
      return;
    }
    this.#free -= 1;
    let isIn = true;
    enter(() => {
      if (!isIn) return;
      isIn = false;
      this.#free += 1;
      const next = this.#waiting.shift();
      if (next) this.take(next);
    });
  }
}

/** The text side of a client; takes the connection over at its first word. */
class TextClient implements HookClient {
  readonly peer: HookPeer;
  #text: TextProcess | undefined;

  constructor(peer: HookPeer) {
    this.peer = peer;
  }

  get signal(): AbortSignal {
    return this.peer.gone;
  }

  stdout(text: string): void {
    this.#process().write(Stream.Stdout, text);
  }

  stderr(text: string): void {
    this.#process().write(Stream.Stderr, text);
  }

  exit(code: number): void {
    this.#process().exit({ kind: 'exited', code });
  }

  #process(): TextProcess {
    if (this.#text) return this.#text;
    const text = new TextProcess(BigInt(randomInt(1, 2 ** 47)), (frame) => this.peer.send(frame));
    this.#text = text;
    this.peer.attach({
      frame: (frame) => {
        if (text.take(frame)) this.peer.end();
      },
      closed: () => undefined,
    });
    return text;
  }
}

/** Throws ProtocolError when the process that the call names is not of the uid it names, or that is neither root nor the socket's owner. */
function checkCaller(call: HookCall, socket: HookSocket): void {
  if (call.uid !== 0 && call.uid !== socket.owner.uid)
    throw new ProtocolError(`uid ${call.uid} on the socket of uid ${socket.owner.uid}`);
  let status: string;
  try {
    status = readFileSync(`/proc/${call.pid}/status`, 'latin1');
  } catch {
    throw new ProtocolError(`PID ${call.pid} is no process of this node`);
  }
  const uids = (/^Uid:\s+(.*)$/m.exec(status)?.[1] ?? '').split(/\s+/).map(Number);
  if (!uids.includes(call.uid))
    throw new ProtocolError(`PID ${call.pid} is of uid ${uids[0]}, the call says ${call.uid}`);
}

async function removeStale(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isSocket()) throw new CaddisError(`${path} is there and is no socket: remove it`);
  if (await answers(path)) throw new CaddisError(`${path}: another caddisd is listening there`);
  removeSocket(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

function removeSocket(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // libuv removes it too when a server closes.
  }
}
