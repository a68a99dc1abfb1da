import { type Frame, frameOf } from '../protocol/frame.ts';
import { type ExitStatus, encodeExit, parseAttach } from '../protocol/session-payloads.ts';
import { u64s } from '../protocol/tlv.ts';
import {
  AttachedState,
  FrameType,
  PAYLOAD_MAX_BYTES,
  ProtocolError,
  Stream,
  WINDOW_BYTES,
} from '../protocol/types.ts';

interface TextRest {
  readonly acknowledged: bigint;
  readonly bytes: Buffer;
}

type OutputStream = typeof Stream.Stdout | typeof Stream.Stderr;
/** Texts for users and hooks are short. */
const MOST_BYTES = 8 * 1024 * 1024;

/** The process side of a session that only prints text and ends: answers to hooks, refusals of relayed commands. Keeps what it printed until the end. */
export class TextProcess {
  readonly #session: bigint;
  readonly #send: (frame: Frame) => void;
  readonly #output = { [Stream.Stdout]: newOutput(), [Stream.Stderr]: newOutput() };
  #status: ExitStatus | undefined;

  constructor(session: bigint, send: (frame: Frame) => void) {
    this.#session = session;
    this.#send = send;
    send(frameOf({ type: FrameType.Opened, session }));
  }

  write(stream: OutputStream, text: string): void {
    if (this.#status || text === '') return;
    const output = this.#output[stream];
    output.bytes = Buffer.concat([output.bytes, Buffer.from(text, 'utf8')]).subarray(0, MOST_BYTES);
    this.#pump(stream);
  }

  /** The first end counts. */
  exit(status: ExitStatus): void {
    if (this.#status) return;
    this.#status = status;
    this.#sendExit();
  }

  /** What the stdio side has not acknowledged yet, and the end that it has not taken. */
  get rest(): {
    readonly streams: readonly [TextRest, TextRest];
    readonly status: ExitStatus | undefined;
  } {
    const of = ({ bytes, acknowledged }: ReturnType<typeof newOutput>): TextRest => ({
      acknowledged: BigInt(acknowledged),
      bytes: bytes.subarray(acknowledged),
    });
    return {
      streams: [of(this.#output[Stream.Stdout]), of(this.#output[Stream.Stderr])],
      status: this.#status,
    };
  }

  /** A frame of the stdio side. True: the status was taken, the session is over. */
  take(frame: Frame): boolean {
    switch (frame.type) {
      case FrameType.ExitAck:
        return true;
      case FrameType.Ack:
        this.#acknowledge(frame);
        return false;
      case FrameType.Attach:
        this.#attach(frame);
        return false;
      default:
        return false;
    }
  }

  #acknowledge(frame: Frame): void {
    if (frame.stream !== Stream.Stdout && frame.stream !== Stream.Stderr) return;
    const output = this.#output[frame.stream];
    const offset = Number(frame.offset);
    if (offset > output.sent) throw new ProtocolError(`ACK of ${offset}, only ${output.sent} were sent`);
    output.acknowledged = Math.max(output.acknowledged, offset);
    this.#pump(frame.stream);
  }

  #attach(frame: Frame): void {
    const [, ...delivered] = parseAttach(frame);
    const positions = [0n, 0n];
    for (const [i, stream] of ([Stream.Stdout, Stream.Stderr] as const).entries()) {
      const output = this.#output[stream];
      output.sent = Math.min(Number(delivered[i]), output.bytes.length);
      output.acknowledged = output.sent;
      positions.push(BigInt(output.acknowledged), BigInt(output.bytes.length));
    }
    const payload = Buffer.concat([u64s(positions), Buffer.alloc(4)]);
    const flags = this.#status ? AttachedState.Exited : AttachedState.Running;
    this.#send(
      frameOf({ type: FrameType.Attached, session: this.#session, flags, offset: frame.offset, payload }),
    );
    this.#pump(Stream.Stdout);
    this.#pump(Stream.Stderr);
    this.#sendExit();
  }

  #pump(stream: OutputStream): void {
    const output = this.#output[stream];
    for (;;) {
      const end = Math.min(
        output.bytes.length,
        output.sent + PAYLOAD_MAX_BYTES,
        output.acknowledged + WINDOW_BYTES,
      );
      if (end <= output.sent) return;
      const payload = output.bytes.subarray(output.sent, end);
      const offset = BigInt(output.sent);
      output.sent = end;
      this.#send(frameOf({ type: FrameType.Data, stream, session: this.#session, offset, payload }));
    }
  }

  #sendExit(): void {
    if (!this.#status) return;
    const end = (stream: OutputStream) => BigInt(this.#output[stream].bytes.length);
    this.#send(
      encodeExit(this.#session, {
        status: this.#status,
        stdoutEnd: end(Stream.Stdout),
        stderrEnd: end(Stream.Stderr),
      }),
    );
  }
}

function newOutput(): { bytes: Buffer; sent: number; acknowledged: number } {
  return { bytes: Buffer.alloc(0), sent: 0, acknowledged: 0 };
}
