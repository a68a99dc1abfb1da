import type { Socket } from 'node:net';

import { encodeFrame, type Frame } from '../guest/protocol/frame.ts';
import { FrameParser } from '../guest/protocol/parser.ts';
import { ProtocolError } from '../guest/protocol/types.ts';
import type { SessionPeer } from '../guest/sessions/peer.ts';

/** Windows of its streams and a relayed command's whole document (8 MiB); a client that leaves more unread is broken. */
const MOST_UNREAD_BYTES = 16 * 1024 * 1024;
/** Frames that came before anybody asked for them: an OPEN and what an eager client sends behind it. */
const MOST_EARLY_BYTES = 9 * 1024 * 1024;

/** One connected caddis-hook: frames out, frames in, and its end. Whatever it sends wrongly ends this connection alone. */
export class HookPeer implements SessionPeer {
  pid = 0;
  readonly #gone = new AbortController();
  readonly #socket: Socket;
  readonly #parser = new FrameParser(0);
  readonly #broke: (reason: string) => void;
  #handlers: { readonly frame: (frame: Frame) => void; readonly closed: () => void } | undefined;
  #closed = false;
  #ended = false;
  #corked = false;

  /** `broke` is told why the connection was ended when it was the client's fault. */
  constructor(socket: Socket, broke: (reason: string) => void) {
    this.#socket = socket;
    this.#broke = broke;
    socket.on('data', (chunk: Buffer) => {
      this.#parser.push(chunk);
      this.#deliver();
    });
    socket.on('error', () => undefined);
    socket.once('close', () => {
      this.#closed = true;
      this.#gone.abort(new Error('the client is gone'));
      this.#deliverEnd();
    });
  }

  /** Aborted when the connection has ended, whoever ended it. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  send(frame: Frame): void {
    if (this.#closed) return;
    if (!this.#corked) {
      // One writev for all that is forwarded in this turn.
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    for (const buffer of encodeFrame(frame, 0)) this.#socket.write(buffer);
    if (this.#socket.writableLength > MOST_UNREAD_BYTES)
      this.close(`it left ${this.#socket.writableLength} bytes unread`);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroy();
    this.#broke(reason);
  }

  /** Ends the connection after what was sent. */
  end(): void {
    this.#socket.end();
  }

  attach(handlers: { readonly frame: (frame: Frame) => void; readonly closed: () => void }): void {
    this.#handlers = handlers;
    this.#deliver();
    if (this.#closed) this.#deliverEnd();
  }

  /** Nobody listens for now: what comes waits in the parser, bounded. */
  detach(): void {
    this.#handlers = undefined;
  }

  #deliver(): void {
    try {
      while (this.#handlers && !this.#closed) {
        const frame = this.#parser.next();
        if (!frame) break;
        this.#handlers.frame(frame);
      }
      if (!this.#handlers && this.#parser.pendingBytes > MOST_EARLY_BYTES)
        throw new ProtocolError('too much was sent before it was asked for');
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.close(error.message);
    }
  }

  #deliverEnd(): void {
    if (this.#ended || !this.#handlers) return;
    this.#ended = true;
    this.#handlers.closed();
  }
}
