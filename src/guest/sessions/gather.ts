import { type Frame, frameOf, payloadOf } from '../protocol/frame.ts';
import { type ExitStatus, parseAttached, parseExit } from '../protocol/session-payloads.ts';
import { u64s } from '../protocol/tlv.ts';
import { AttachedState, FrameType, WINDOW_BYTES } from '../protocol/types.ts';
import type { MovedOutput } from './moved.ts';
import type { RelayProgress } from './resumed-relay.ts';

interface Output {
  readonly acknowledged: bigint;
  produced: bigint;
  readonly pieces: Buffer[];
  bytes: number;
}

/** Of our ATTACH: the answers to others may be on their way. */
const MARK = 2n ** 64n - 1n;

/**
 * Fetches from a command's process side what it has produced and its caller has not acknowledged: at most a window of each stream, since that is what a process
 * side keeps. Nothing is acknowledged by it.
 */
export class Gathering {
  readonly #outputs: readonly [Output, Output];
  readonly #ask: () => void;
  #stdinAccepted = 0n;
  #attached: 'not' | 'unknown' | 'running' | 'exited' = 'not';
  #exit: ExitStatus | undefined;
  #done: () => void = () => undefined;

  constructor(
    session: bigint,
    known: {
      /** What the caller has acknowledged. */
      readonly taken: readonly [bigint, bigint];
      readonly exit: ExitStatus | undefined;
    },
    send: (frame: Frame) => void,
  ) {
    const { taken, exit } = known;
    this.#outputs = [newOutput(taken[0]), newOutput(taken[1])];
    this.#exit = exit;
    const payload = u64s([0n, ...taken]);
    this.#ask = () => send(frameOf({ type: FrameType.Attach, session, offset: MARK, payload }));
  }

  /** Undefined: the process side does not know it, or said nothing within `timeoutMs`. */
  async run(timeoutMs: number): Promise<RelayProgress | undefined> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
      this.#done = resolve;
      this.#ask();
    });
    clearTimeout(timer);
    if (this.#attached === 'not' || this.#attached === 'unknown') return undefined;
    const [stdout, stderr] = this.#outputs;
    const streams = [collected(stdout), collected(stderr)] as const;
    const exit = this.#exit;
    return { started: true, stdinAccepted: this.#stdinAccepted, streams, ...(exit && { exit }) };
  }

  /** A frame of the process side. Throws ProtocolError. */
  take(frame: Frame): void {
    if (frame.type === FrameType.Attached && frame.offset === MARK) this.#takeAttached(frame);
    else if (frame.type === FrameType.Exit) this.#takeExit(frame);
    else if (frame.type === FrameType.Data && this.#attached !== 'not') this.#takeData(frame);
    if (this.#isComplete()) this.#done();
  }

  #takeAttached(frame: Frame): void {
    const [stdin, ...outputs] = parseAttached(frame);
    if (frame.flags === AttachedState.Unknown) {
      this.#attached = 'unknown';
      return;
    }
    this.#attached = frame.flags === AttachedState.Exited ? 'exited' : 'running';
    this.#stdinAccepted = stdin.acknowledged;
    for (const [i, { produced }] of outputs.entries()) (this.#outputs[i] as Output).produced = produced;
  }

  #takeExit(frame: Frame): void {
    const { status } = parseExit(frame);
    // That one says that we asked for bytes which are gone.
    if (status.kind === 'lost') this.#attached = 'unknown';
    else this.#exit ??= status;
  }

  #takeData(frame: Frame): void {
    const output = this.#outputs[frame.stream - 1];
    if (!output || frame.offset !== output.acknowledged + BigInt(output.bytes)) return;
    const payload = payloadOf(frame).subarray(0, WINDOW_BYTES - output.bytes);
    output.pieces.push(payload);
    output.bytes += payload.length;
  }

  #isComplete(): boolean {
    if (this.#attached === 'unknown') return true;
    if (this.#attached === 'not' || (this.#attached === 'exited' && !this.#exit)) return false;
    return this.#outputs.every(
      ({ acknowledged, bytes, produced }) =>
        bytes === WINDOW_BYTES || acknowledged + BigInt(bytes) >= produced,
    );
  }
}

function newOutput(acknowledged: bigint): Output {
  return { acknowledged, produced: acknowledged, pieces: [], bytes: 0 };
}

function collected({ acknowledged, pieces, bytes }: Output): MovedOutput {
  return { acknowledged, bytes: Buffer.concat(pieces, bytes) };
}
