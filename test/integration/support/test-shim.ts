import { connect, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';

import { documentFrames } from '../../../src/guest/protocol/document-frames.ts';
import { encodeFrame, type Frame, frameOf } from '../../../src/guest/protocol/frame.ts';
import { FrameParser } from '../../../src/guest/protocol/parser.ts';
import { type Exit, parseAttached, parseExit } from '../../../src/guest/protocol/session-payloads.ts';
import { TlvWriter, u64s } from '../../../src/guest/protocol/tlv.ts';
import { FrameType, Stream, Tag, WINDOW_BYTES } from '../../../src/guest/protocol/types.ts';

export interface ShimOptions {
  readonly hookPath: string;
  readonly argv: readonly string[];
  /** Called for output in order, each byte once; may wait: nothing more of that stream is acknowledged until then. */
  readonly output: (stream: number, pieces: readonly Buffer[]) => void | Promise<void>;
  readonly stdin?: Buffer;
}

/** The stdio side of one session, as caddis-hook exec is: reconnects, attaches with what it delivered, never loses or repeats a byte. */
export class TestShim {
  readonly delivered = [0n, 0n, 0n];
  reconnects = -1;
  readonly #options: ShimOptions;
  #session: bigint | undefined;
  #socket: Socket | undefined;
  #exit: Exit | undefined;
  #stdinSent = 0;
  #stdinAcknowledged = 0;
  #done = false;
  #flowing = false;

  constructor(options: ShimOptions) {
    this.#options = options;
  }

  /** Runs the session to its end; rejects when that takes longer than `timeoutMs` or the protocol is broken. */
  async run(timeoutMs: number): Promise<Exit> {
    const deadline = performance.now() + timeoutMs;
    while (!this.#done) {
      if (performance.now() > deadline)
        throw new Error(
          `no end within ${timeoutMs} ms; delivered ${this.delivered}, exit ${this.#exit?.status.kind}`,
        );
      await this.#connection(deadline);
      if (!this.#done) await wait(20);
    }
    return this.#exit as Exit;
  }

  signal(number: number): void {
    this.#send(
      frameOf({ type: FrameType.Signal, session: this.#session ?? 0n, flags: 1, offset: BigInt(number) }),
    );
  }

  #connection(deadline: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.#options.hookPath);
      const parser = new FrameParser(0);
      const timer = setTimeout(() => socket.destroy(), Math.max(1, deadline - performance.now()));
      let work = Promise.resolve();
      this.#socket = socket;
      socket.once('connect', () => {
        this.reconnects += 1;
        for (const frame of documentFrames(FrameType.Open, 0n, this.#document())) this.#send(frame);
      });
      socket.on('data', (chunk: Buffer) => {
        try {
          parser.push(chunk);
          for (let frame = parser.next(); frame; frame = parser.next()) {
            const taken = frame;
            work = work.then(() => this.#take(taken, socket));
          }
          work.catch(reject);
        } catch (error) {
          reject(error as Error);
        }
      });
      socket.on('error', () => undefined);
      socket.once('close', () => {
        clearTimeout(timer);
        work.then(resolve, reject);
      });
    });
  }

  async #take(frame: Frame, socket: Socket): Promise<void> {
    if (socket !== this.#socket) return;
    switch (frame.type) {
      case FrameType.Opened: {
        const back = this.#session !== undefined;
        this.#session = frame.session;
        this.#flowing = !back;
        if (back) this.#attach();
        else this.#pumpStdin();
        return;
      }
      case FrameType.Lost:
        if (frame.flags === 1) throw new Error('the session is gone');
        this.#flowing = false;
        this.#attach();
        return;
      case FrameType.Attached:
        if (frame.flags === 0) throw new Error('the guest does not know the session');
        this.#flowing = true;
        this.#stdinSent = Number(parseAttached(frame)[0].produced);
        this.#stdinAcknowledged = Number(parseAttached(frame)[0].acknowledged);
        this.#pumpStdin();
        return;
      case FrameType.Data:
        await this.#output(frame);
        break;
      case FrameType.Ack:
        this.#stdinAcknowledged = Number(frame.offset);
        this.#pumpStdin();
        return;
      case FrameType.Exit:
        this.#exit = parseExit(frame);
        break;
    }
    this.#finish();
  }

  async #output(frame: Frame): Promise<void> {
    // As caddis-hook does: output is counted only once both sides have agreed on the offsets.
    if (!this.#flowing) return;
    const at = this.delivered[frame.stream] as bigint;
    if (frame.offset !== at)
      throw new Error(`stream ${frame.stream}: got offset ${frame.offset}, expected ${at}`);
    await this.#options.output(frame.stream, frame.pieces);
    this.delivered[frame.stream] = at + BigInt(frame.length);
    const { stream } = frame;
    const offset = at + BigInt(frame.length);
    this.#send(frameOf({ type: FrameType.Ack, stream, session: this.#session ?? 0n, offset }));
  }

  #finish(): void {
    const exit = this.#exit;
    if (!exit || this.delivered[1] !== exit.stdoutEnd || this.delivered[2] !== exit.stderrEnd) return;
    this.#done = true;
    this.#send(frameOf({ type: FrameType.ExitAck, session: this.#session ?? 0n }));
    this.#socket?.end();
  }

  #pumpStdin(): void {
    const input = this.#options.stdin;
    const session = this.#session;
    if (!input || session === undefined) return;
    while (this.#stdinSent < input.length && this.#stdinSent - this.#stdinAcknowledged < WINDOW_BYTES) {
      const end = Math.min(input.length, this.#stdinSent + 65_536, this.#stdinAcknowledged + WINDOW_BYTES);
      const payload = input.subarray(this.#stdinSent, end);
      const offset = BigInt(this.#stdinSent);
      this.#stdinSent = end;
      this.#send(frameOf({ type: FrameType.Data, stream: Stream.Stdin, session, offset, payload }));
    }
    if (this.#stdinSent === input.length) {
      const offset = BigInt(input.length);
      this.#send(frameOf({ type: FrameType.Eof, stream: Stream.Stdin, session, offset }));
    }
  }

  #attach(): void {
    const payload = u64s(this.delivered);
    this.#send(frameOf({ type: FrameType.Attach, session: this.#session ?? 0n, payload }));
  }

  #send(frame: Frame): void {
    for (const buffer of encodeFrame(frame, 0)) this.#socket?.write(buffer);
  }

  #document(): Buffer {
    const w = new TlvWriter().text(Tag.Verb, 'exec');
    for (const arg of this.#options.argv) w.text(Tag.Arg, arg);
    w.text(Tag.Env, `PATH=${process.env.PATH ?? '/usr/bin:/bin'}`).text(Tag.Cwd, '/');
    w.u64(Tag.Uid, process.getuid?.() ?? 0).u64(Tag.Gid, process.getgid?.() ?? 0);
    w.u64(Tag.Umask, 0o22).u64(Tag.Pid, process.pid);
    for (const fd of [0, 1, 2]) w.u64(Tag.Stdio, fd, 0o10600, 99, this.#options.stdin ? fd + 1 : fd + 100);
    if (this.#session !== undefined) w.u64(Tag.Session, this.#session);
    return w.finish();
  }
}
