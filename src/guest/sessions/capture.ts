import { type Frame, frameOf, payloadOf } from '../protocol/frame.ts';
import { encodeMoved } from '../protocol/move-documents.ts';
import { type ExitStatus, parseExit } from '../protocol/session-payloads.ts';
import { FrameType, MovedFlag, Stream } from '../protocol/types.ts';
import type { SessionPeer } from './peer.ts';

export interface Captured {
  readonly status: ExitStatus;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/**
 * The stdio side of a session that caddisd runs for itself: no stdin, output kept in memory up to a bound. A broken link ends it; whoever asked may ask again.
 */
export class CapturePeer implements SessionPeer {
  readonly pid = process.pid;
  readonly done: Promise<Captured>;
  readonly #session: bigint;
  readonly #maxBytes: number;
  readonly #output = new Map<number, { chunks: Buffer[]; bytes: bigint }>([
    [Stream.Stdout, { chunks: [], bytes: 0n }],
    [Stream.Stderr, { chunks: [], bytes: 0n }],
  ]);
  #resolve!: (captured: Captured) => void;
  #reject!: (error: Error) => void;
  #answer: ((frame: Frame) => void) | undefined;
  #exit: ReturnType<typeof parseExit> | undefined;

  /** `done` rejects when stdout and stderr together are above `maxBytes`. */
  constructor(session: bigint, maxBytes: number) {
    this.#session = session;
    this.#maxBytes = maxBytes;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.done.catch(() => undefined);
  }

  attach(handlers: { readonly frame: (frame: Frame) => void }): void {
    this.#answer = handlers.frame;
  }

  send(frame: Frame): void {
    if (frame.type === FrameType.Data) this.#data(frame);
    else if (frame.type === FrameType.Exit) this.#exit = parseExit(frame);
    else if (frame.type === FrameType.Lost) this.#reject(new Error('the link to the guest broke'));
    else if (frame.type === FrameType.Moved && (frame.flags & MovedFlag.End) === 0) this.#moved();
    this.#finish();
  }

  pause(): void {}
  resume(): void {}

  close(reason: string): void {
    this.#reject(new Error(reason));
  }

  #data(frame: Frame): void {
    const output = this.#output.get(frame.stream);
    if (!output || frame.offset !== output.bytes) return;
    output.chunks.push(Buffer.from(payloadOf(frame)));
    output.bytes += BigInt(frame.length);
    const { session, stream } = { session: this.#session, stream: frame.stream };
    // Not from within the router's own call: it is still delivering this frame.
    queueMicrotask(() =>
      this.#answer?.(frameOf({ type: FrameType.Ack, stream, session, offset: output.bytes })),
    );
    let total = 0n;
    for (const { bytes } of this.#output.values()) total += bytes;
    if (total > BigInt(this.#maxBytes)) this.#reject(new Error(`more than ${this.#maxBytes} bytes`));
  }

  #moved(): void {
    const streams = [...this.#output.values()].map(({ bytes }) => ({ delivered: bytes }));
    queueMicrotask(() => this.#answer?.(encodeMoved(this.#session, streams)));
    this.#reject(new Error('the machine goes on elsewhere'));
  }

  #finish(): void {
    const [stdout, stderr] = [this.#output.get(Stream.Stdout), this.#output.get(Stream.Stderr)];
    if (!this.#exit || !stdout || !stderr) return;
    if (stdout.bytes < this.#exit.stdoutEnd || stderr.bytes < this.#exit.stderrEnd) return;
    const { status } = this.#exit;
    queueMicrotask(() => this.#answer?.(frameOf({ type: FrameType.ExitAck, session: this.#session })));
    this.#resolve({
      status,
      stdout: Buffer.concat(stdout.chunks),
      stderr: Buffer.concat(stderr.chunks).toString('utf8'),
    });
  }
}
