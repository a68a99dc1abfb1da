import { type Frame, frameOf, payloadOf } from '../protocol/frame.ts';
import { encodeExit, parseAttach, parseExit } from '../protocol/session-payloads.ts';
import { u64s } from '../protocol/tlv.ts';
import { AttachedState, FrameType, PAYLOAD_MAX_BYTES, Stream, WINDOW_BYTES } from '../protocol/types.ts';
import type { MovedRelay } from './moved.ts';

type OutputStream = typeof Stream.Stdout | typeof Stream.Stderr;

interface Output {
  /** Position of the first byte of `bytes`: what the guest had taken when the machine was moved. */
  readonly start: bigint;
  readonly bytes: Buffer;
  /** Behind `bytes`: where the new process's stream begins. */
  readonly end: bigint;
  taken: bigint;
  sent: bigint;
}

/** What of a command's state is told in a manifest, in the command's own offsets. */
export type RelayProgress = Pick<MovedRelay, 'started' | 'stdinAccepted' | 'streams' | 'exit'>;

/**
 * Stands between a stub in a restored guest, which goes on where it was, and the command that was started anew for it, whose streams begin at 0. First the stub gets
 * the bytes that the earlier command had produced, from here; then it is asked to attach again, and from then on offsets are translated and nothing is kept.
 */
export class ResumedRelay {
  readonly #session: bigint;
  /** Where the new process's stdin begins in the stub's. */
  readonly #input: bigint;
  readonly #outputs: Readonly<Record<OutputStream, Output>>;
  readonly #toGuest: (frame: Frame) => void;
  readonly #fence: () => Promise<unknown>;
  /** `away`: the stub has to attach. `replaying`: it gets what is kept here. `through`: it and the new process speak with each other. */
  #state: 'away' | 'replaying' | 'through' = 'away';
  #processIsThere = false;
  /** Counts attachments: what waits for an older one is void. */
  #attachment = 0;
  #mayPump = false;

  constructor(
    moved: MovedRelay,
    options: {
      readonly toGuest: (frame: Frame) => void;
      /** Resolves when the guest has taken all that was sent through the control port. */
      readonly fence: () => Promise<unknown>;
    },
  ) {
    this.#session = moved.session;
    this.#input = moved.stdinAccepted;
    this.#outputs = {
      [Stream.Stdout]: newOutput(moved.streams[0]),
      [Stream.Stderr]: newOutput(moved.streams[1]),
    };
    this.#toGuest = options.toGuest;
    this.#fence = options.fence;
  }

  /** The command was called again, or its end is known: what is sent to it arrives behind its OPEN. */
  processCame(): void {
    this.#processIsThere = true;
    this.#handOver();
  }

  linkDown(): void {
    this.#state = 'away';
    this.#attachment += 1;
  }

  /** A frame of the stub, as the new process would get it; undefined: it is not for it. Throws ProtocolError. */
  fromGuest(frame: Frame): Frame | undefined {
    switch (frame.type) {
      case FrameType.Attach:
        return this.#attach(frame);
      case FrameType.Ack:
      case FrameType.Eof:
        return isOutput(frame.stream)
          ? this.#fromReader(frame, frame.stream)
          : this.#shifted(frame, this.#input);
      case FrameType.Data:
        return this.#shifted(frame, this.#input);
      default:
        return frame;
    }
  }

  /** A frame of the new process, as the stub would get it; undefined: not now, the process will say it again. Throws ProtocolError. */
  toGuest(frame: Frame): Frame | undefined {
    switch (frame.type) {
      // To the stub it is no news.
      case FrameType.Opened:
        return undefined;
      case FrameType.Attached:
        return this.#state === 'through' ? this.#attached(frame) : undefined;
      case FrameType.Data:
      case FrameType.Eof:
        return isOutput(frame.stream) ? this.#unshifted(frame, this.#outputs[frame.stream].end) : undefined;
      case FrameType.Ack:
        return this.#unshifted(frame, this.#input);
      case FrameType.Exit:
        return this.#state === 'through' ? this.#exit(frame) : undefined;
      default:
        return frame;
    }
  }

  /** Both halves together, for the next move: what is left here, and behind it what the process said of itself. */
  moved(progress: RelayProgress): RelayProgress {
    const both = ([Stream.Stdout, Stream.Stderr] as const).map((stream, i) => {
      const { start, bytes, end, taken } = this.#outputs[stream];
      const { acknowledged, bytes: more } = progress.streams[i] as RelayProgress['streams'][0];
      if (taken >= end) return { acknowledged: end + acknowledged, bytes: more };
      return { acknowledged: taken, bytes: Buffer.concat([bytes.subarray(Number(taken - start)), more]) };
    });
    const streams = both as unknown as RelayProgress['streams'];
    return { ...progress, stdinAccepted: this.#input + progress.stdinAccepted, streams };
  }

  #attach(frame: Frame): Frame | undefined {
    const [, ...delivered] = parseAttach(frame);
    const { [Stream.Stdout]: stdout, [Stream.Stderr]: stderr } = this.#outputs;
    const [toStdout, toStderr] = delivered as [bigint, bigint];
    this.#attachment += 1;
    if (toStdout < stdout.start || toStderr < stderr.start) {
      this.#state = 'away';
      this.#toGuest(unknownBytes(this.#session));
      return undefined;
    }
    begin(stdout, toStdout);
    begin(stderr, toStderr);
    if (this.#processIsThere && this.#isReplayed()) {
      this.#state = 'through';
      const payload = u64s([0n, toStdout - stdout.end, toStderr - stderr.end]);
      return frameOf({ type: FrameType.Attach, session: this.#session, payload });
    }
    this.#replay(stdout, stderr);
    return undefined;
  }

  #replay(stdout: Output, stderr: Output): void {
    this.#state = 'replaying';
    this.#mayPump = false;
    const attachment = this.#attachment;
    const positions = [this.#input, this.#input, stdout.taken, stdout.end, stderr.taken, stderr.end];
    const payload = Buffer.concat([u64s(positions), Buffer.alloc(4)]);
    this.#toGuest(
      frameOf({ type: FrameType.Attached, session: this.#session, flags: AttachedState.Running, payload }),
    );
    // Output goes by the other port, and must not be faster.
    this.#fence().then(
      () => {
        if (attachment !== this.#attachment || this.#state !== 'replaying') return;
        this.#mayPump = true;
        this.#pump(Stream.Stdout);
        this.#pump(Stream.Stderr);
        this.#handOver();
      },
      () => undefined,
    );
  }

  #pump(stream: OutputStream): void {
    const output = this.#outputs[stream];
    while (this.#mayPump && output.sent < output.end) {
      const at = Number(output.sent - output.start);
      const room = WINDOW_BYTES - Number(output.sent - output.taken);
      const payload = output.bytes.subarray(at, at + Math.min(PAYLOAD_MAX_BYTES, room));
      if (payload.length === 0) return;
      const offset = output.sent;
      output.sent += BigInt(payload.length);
      this.#toGuest(frameOf({ type: FrameType.Data, stream, session: this.#session, offset, payload }));
    }
  }

  /** ACK, or EOF (nobody reads any more), of an output stream. */
  #fromReader(frame: Frame, stream: OutputStream): Frame | undefined {
    const output = this.#outputs[stream];
    if (this.#state === 'through') return this.#shifted(frame, output.end);
    if (this.#state !== 'replaying') return undefined;
    if (frame.type === FrameType.Eof) output.taken = output.sent = output.end;
    else if (frame.offset > output.taken && frame.offset <= output.sent) output.taken = frame.offset;
    this.#pump(stream);
    this.#handOver();
    return undefined;
  }

  /** LOST is what makes a stdio side attach; it loses nothing by it, since it has taken all that it got. */
  #handOver(): void {
    if (this.#state !== 'replaying' || !this.#mayPump || !this.#processIsThere || !this.#isReplayed()) return;
    this.#state = 'away';
    this.#toGuest(frameOf({ type: FrameType.Lost, session: this.#session }));
  }

  #isReplayed(): boolean {
    return Object.values(this.#outputs).every(({ taken, end }) => taken >= end);
  }

  /** The stub's offset in the process's stream. What lies below was the earlier process's. */
  #shifted(frame: Frame, base: bigint): Frame | undefined {
    return this.#state === 'through' && frame.offset >= base
      ? { ...frame, offset: frame.offset - base }
      : undefined;
  }

  #unshifted(frame: Frame, base: bigint): Frame | undefined {
    return this.#state === 'through' ? { ...frame, offset: frame.offset + base } : undefined;
  }

  #attached(frame: Frame): Frame {
    const payload = Buffer.from(payloadOf(frame));
    const { [Stream.Stdout]: stdout, [Stream.Stderr]: stderr } = this.#outputs;
    const bases = [this.#input, this.#input, stdout.end, stdout.end, stderr.end, stderr.end];
    if (payload.length < 8 * bases.length) return frame;
    for (const [i, base] of bases.entries())
      payload.writeBigUInt64LE(BigInt.asUintN(64, payload.readBigUInt64LE(8 * i) + base), 8 * i);
    return { ...frame, pieces: [payload] };
  }

  #exit(frame: Frame): Frame {
    const exit = parseExit(frame);
    const { [Stream.Stdout]: stdout, [Stream.Stderr]: stderr } = this.#outputs;
    return encodeExit(this.#session, {
      ...exit,
      stdoutEnd: exit.stdoutEnd + stdout.end,
      stderrEnd: exit.stderrEnd + stderr.end,
    });
  }
}

function isOutput(stream: number): stream is OutputStream {
  return stream === Stream.Stdout || stream === Stream.Stderr;
}

function newOutput({ acknowledged, bytes }: { acknowledged: bigint; bytes: Buffer }): Output {
  const end = acknowledged + BigInt(bytes.length);
  return { start: acknowledged, bytes, end, taken: acknowledged, sent: acknowledged };
}

function begin(output: Output, position: bigint): void {
  output.sent = position;
  if (output.sent > output.end) output.sent = output.end;
  output.taken = output.sent;
}

function unknownBytes(session: bigint): Frame {
  const message = 'output was acknowledged that this command never took';
  return encodeExit(session, { status: { kind: 'lost', message }, stdoutEnd: 0n, stderrEnd: 0n });
}
