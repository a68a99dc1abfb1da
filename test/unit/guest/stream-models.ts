import { type Frame, type FrameFields, frameOf, payloadOf } from '../../../src/guest/protocol/frame.ts';
import {
  encodeExit,
  parseAttach,
  parseAttached,
  parseExit,
} from '../../../src/guest/protocol/session-payloads.ts';
import { u64s } from '../../../src/guest/protocol/tlv.ts';
import { FrameType as T, WINDOW_BYTES } from '../../../src/guest/protocol/types.ts';

/** Bytes that tell their position, so that a lost, doubled or moved piece shows. */
export function pattern(from: number, length: number, salt: number): Buffer {
  const out = Buffer.alloc(length);
  for (let i = 0; i < length; i++) out[i] = (from + i) * 167 + ((from + i) >> 8) * 31 + salt;
  return out;
}

const NUMBER = (value: bigint) => Number(value);

/** A stdio side as src/guest/wire/stdio_side.c is one: a stub in the guest that has been restored. */
export class StubModel {
  readonly got: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)];
  /** Where `got` begins in the stream. */
  readonly begin: readonly [number, number];
  exit: ReturnType<typeof parseExit> | undefined;
  over = false;
  readonly #session: bigint;
  readonly #say: (fields: FrameFields) => void;
  readonly #input: Buffer;
  readonly #acked: [number, number];
  #flowing = false;
  #inBase: number;
  #inSent: number;
  #eofSent = false;

  constructor(
    session: bigint,
    state: { delivered: readonly [number, number]; input: Buffer; inputAcknowledged: number },
    say: (fields: FrameFields) => void,
  ) {
    this.#session = session;
    this.begin = state.delivered;
    this.#acked = [...state.delivered];
    this.#input = state.input;
    this.#inBase = this.#inSent = state.inputAcknowledged;
    this.#say = say;
  }

  delivered(i: 0 | 1): number {
    return this.begin[i] + this.got[i].length;
  }

  /** The guest's agent says LOST to its stubs when the link is up. */
  linkUp(): void {
    this.take(frameOf({ type: T.Lost, session: this.#session }));
  }

  take(frame: Frame): void {
    if (this.over) return;
    switch (frame.type) {
      case T.Lost:
        this.#flowing = false;
        this.#say({
          ...this.#fields(T.Attach),
          payload: u64s([0, this.delivered(0), this.delivered(1)]),
        });
        return;
      case T.Attached:
        this.#attached(frame);
        return;
      case T.Data:
        if (this.#flowing) this.#data(frame);
        break;
      case T.Ack:
        if (this.#flowing && NUMBER(frame.offset) > this.#inSent) throw new Error('ACK of stdin never sent');
        if (this.#flowing) this.#inBase = Math.max(this.#inBase, NUMBER(frame.offset));
        return;
      case T.Exit:
        this.exit = parseExit(frame);
        break;
    }
    this.#finish();
  }

  /** Sends some stdin, or acknowledges. */
  step(pick: (below: number) => number): void {
    if (!this.#flowing || this.over) return;
    const end = Math.min(this.#input.length, this.#inBase + WINDOW_BYTES, this.#inSent + 1 + pick(40_000));
    if (this.#inSent < end) {
      const payload = this.#input.subarray(this.#inSent, end);
      const offset = BigInt(this.#inSent);
      this.#inSent = end;
      this.#say({ ...this.#fields(T.Data), stream: 0, offset, payload });
    } else if (this.#inSent === this.#input.length && !this.#eofSent) {
      this.#eofSent = true;
      this.#say({ ...this.#fields(T.Eof), stream: 0, offset: BigInt(this.#inSent) });
    }
    const i = pick(2) as 0 | 1;
    if (this.#acked[i] < this.delivered(i)) {
      this.#acked[i] += 1 + pick(this.delivered(i) - this.#acked[i]);
      this.#say({ ...this.#fields(T.Ack), stream: i + 1, offset: BigInt(this.#acked[i]) });
    }
    this.#finish();
  }

  #attached(frame: Frame): void {
    if (frame.flags === 0) throw new Error('the stub was told that nobody knows it');
    if (this.#flowing) return;
    const [stdin, stdout, stderr] = parseAttached(frame);
    for (const [i, { produced }] of [stdout, stderr].entries())
      if (NUMBER(produced) < this.delivered(i as 0 | 1)) throw new Error(`stream ${i + 1} was rolled back`);
    if (NUMBER(stdin.produced) < this.#inBase || NUMBER(stdin.produced) > this.#input.length)
      throw new Error(`stdin goes on at ${stdin.produced}, which is not here`);
    this.#inBase = Math.max(this.#inBase, NUMBER(stdin.acknowledged));
    this.#inSent = NUMBER(stdin.produced);
    this.#eofSent = false;
    this.#acked[0] = this.delivered(0);
    this.#acked[1] = this.delivered(1);
    this.exit = undefined;
    this.#flowing = true;
  }

  #data(frame: Frame): void {
    const i = (frame.stream - 1) as 0 | 1;
    const skip = this.delivered(i) - NUMBER(frame.offset);
    if (skip < 0) throw new Error(`a gap of ${-skip} bytes in stream ${i + 1}`);
    if (NUMBER(frame.offset) + frame.length > this.#acked[i] + WINDOW_BYTES)
      throw new Error(`stream ${i + 1} beyond its window`);
    this.got[i] = Buffer.concat([this.got[i], payloadOf(frame).subarray(skip)]);
  }

  #finish(): void {
    if (!this.exit || this.over) return;
    const { status, stdoutEnd, stderrEnd } = this.exit;
    if (
      status.kind !== 'lost' &&
      (BigInt(this.delivered(0)) < stdoutEnd || BigInt(this.delivered(1)) < stderrEnd)
    )
      return;
    this.over = true;
    this.#say(this.#fields(T.ExitAck));
  }

  #fields(type: number): FrameFields {
    return { type, session: this.#session };
  }
}

/** A process side as src/guest/wire/process.c is one: the command beside a shim. */
export class ProcessModel {
  started = 0;
  readonly input: Buffer[] = [];
  #inEnd = 0;
  #inAcked = 0;
  #inEof = false;
  readonly #session: bigint;
  readonly #outputs: readonly [Buffer, Buffer];
  readonly #base: [number, number] = [0, 0];
  readonly #produced: [number, number] = [0, 0];
  readonly #sent: [number, number] = [0, 0];
  #attached = false;
  #mark = 0n;
  #exited = false;
  #forgotten = false;
  say: (fields: FrameFields) => void;

  constructor(session: bigint, outputs: readonly [Buffer, Buffer], say: (fields: FrameFields) => void) {
    this.#session = session;
    this.#outputs = outputs;
    this.say = say;
  }

  detached(): void {
    this.#attached = false;
  }

  take(frame: Frame): void {
    switch (frame.type) {
      case T.Open:
        if (this.started > 0) this.#attach(this.#base);
        else {
          this.started += 1;
          this.#attached = true;
          this.say({ type: T.Opened, session: this.#session });
        }
        return;
      case T.Attach: {
        const [, stdout, stderr] = parseAttach(frame).map(NUMBER) as [number, number, number];
        if (this.started === 0 || this.#forgotten)
          this.say({
            ...{ type: T.Attached, session: this.#session, flags: 0 },
            ...{ offset: frame.offset, payload: Buffer.alloc(52) },
          });
        else if (stdout < this.#base[0] || stderr < this.#base[1])
          throw new Error('asked for bytes that are gone');
        else {
          this.#mark = frame.offset;
          this.#attach([stdout, stderr]);
        }
        return;
      }
      case T.Detach:
        this.#attached = false;
        return;
      case T.Ack: {
        const i = (frame.stream - 1) as 0 | 1;
        if (NUMBER(frame.offset) > this.#sent[i])
          throw new Error(`ACK of stream ${i + 1} that was never sent`);
        this.#base[i] = Math.max(this.#base[i], NUMBER(frame.offset));
        return;
      }
      case T.Data:
        this.#data(frame);
        return;
      case T.Eof:
        if (NUMBER(frame.offset) !== this.#inEnd)
          throw new Error(`EOF of stdin at ${frame.offset}, not ${this.#inEnd}`);
        this.#inEof = true;
        return;
      case T.ExitAck:
        this.#forgotten = true;
        return;
    }
  }

  /** Produces, sends, consumes. */
  step(pick: (below: number) => number): void {
    if (this.started === 0 || this.#forgotten) return;
    const i = pick(2) as 0 | 1;
    const whole = this.#outputs[i];
    this.#produced[i] = Math.min(
      whole.length,
      this.#base[i] + WINDOW_BYTES,
      this.#produced[i] + pick(60_000),
    );
    if (!this.#attached) return;
    if (this.#sent[i] < this.#produced[i]) {
      const payload = whole.subarray(
        this.#sent[i],
        Math.min(this.#produced[i], this.#sent[i] + 1 + pick(65_535)),
      );
      const offset = BigInt(this.#sent[i]);
      this.#sent[i] += payload.length;
      this.say({ type: T.Data, session: this.#session, stream: i + 1, offset, payload });
    }
    if (this.#inAcked < this.#inEnd && pick(2) === 0) {
      this.#inAcked = this.#inEnd;
      this.say({ type: T.Ack, session: this.#session, stream: 0, offset: BigInt(this.#inEnd) });
    }
    const done = this.#outputs.every((output, k) => this.#sent[k as 0 | 1] === output.length);
    if (done && this.#inEof && !this.#exited) this.#sayExit();
  }

  #attach(delivered: readonly [number, number]): void {
    this.#attached = true;
    for (const i of [0, 1] as const) {
      this.#base[i] = Math.max(this.#base[i], Math.min(delivered[i], this.#produced[i]));
      this.#sent[i] = this.#base[i];
    }
    this.#inAcked = this.#inEnd;
    const positions = [this.#inEnd, this.#inEnd];
    for (const i of [0, 1] as const) positions.push(this.#base[i], this.#produced[i]);
    const payload = Buffer.concat([u64s(positions), Buffer.alloc(4)]);
    this.say({
      type: T.Attached,
      session: this.#session,
      flags: this.#exited ? 2 : 1,
      offset: this.#mark,
      payload,
    });
    if (this.#exited) this.#sayExit();
  }

  #sayExit(): void {
    this.#exited = true;
    const [stdout, stderr] = this.#outputs;
    const exit = encodeExit(this.#session, {
      status: { kind: 'exited', code: 7 },
      stdoutEnd: BigInt(stdout.length),
      stderrEnd: BigInt(stderr.length),
    });
    this.say({ type: T.Exit, session: this.#session, payload: payloadOf(exit) });
  }

  #data(frame: Frame): void {
    const skip = this.#inEnd - NUMBER(frame.offset);
    if (skip < 0) throw new Error(`a gap of ${-skip} bytes in stdin`);
    if (skip >= frame.length) return;
    this.input.push(payloadOf(frame).subarray(skip));
    this.#inEnd += frame.length - skip;
  }
}
