import { connect, type Socket } from 'node:net';

import { encodeFrame, type Frame } from '../protocol/frame.ts';
import { EchoHunter, helloFrame, newNonce, type PortNumber } from '../protocol/hello.ts';
import { FrameParser } from '../protocol/parser.ts';
import { PAYLOAD_MAX_BYTES, PROTOCOL_VERSION, ProtocolError } from '../protocol/types.ts';

export interface PortEvents {
  /** The guest answered this generation's HELLO. */
  ready(): void;
  frame(frame: Frame): void;
  /** The port is of no use any more: socket gone, or the guest broke the protocol. Called once. */
  broken(reason: Error): void;
  /** Less is waiting to be written than `sendFrame` complained about. */
  drained(): void;
}

/** No echo within this time: HELLO again (docs/protocol.md), doubling up to the second while a guest boots. */
const ECHO_FIRST_MS = 200;
const ECHO_MOST_MS = 1000;
/** Completes any frame that the guest believes to be half received. */
const FILLER = Buffer.alloc(PAYLOAD_MAX_BYTES + 464);
/** From here on senders are asked to pause. */
const CONGESTED_BYTES = 1024 * 1024;
/** Some whole documents of 8 MiB may be waiting; a guest that leaves more unread is given up. */
const MOST_WAITING_BYTES = 64 * 1024 * 1024;

/** One virtio-serial port's socket for the life of one generation: connect, HELLO, then frames. */
export class LinkPort {
  readonly #socket: Socket;
  readonly #number: PortNumber;
  readonly #generation: number;
  readonly #events: PortEvents;
  readonly #parser: FrameParser;
  #hunter: EchoHunter | undefined;
  #timer: NodeJS.Timeout | undefined;
  #waitMs = ECHO_FIRST_MS;
  #closed = false;
  #congested = false;

  constructor(path: string, number: PortNumber, generation: number, events: PortEvents) {
    this.#number = number;
    this.#generation = generation;
    this.#events = events;
    this.#parser = new FrameParser(generation);
    this.#socket = connect(path);
    this.#socket.once('connect', () => this.#hello());
    this.#socket.on('data', (chunk: Buffer) => this.#guarded(() => this.#take(chunk)));
    this.#socket.on('drain', () => {
      this.#congested = false;
      this.#guarded(() => events.drained());
    });
    this.#socket.once('error', (error) => this.#break(error));
    this.#socket.once('close', () => this.#break(new Error(`${path}: closed by the other end`)));
  }

  /** False: congested, wait for `drained`. What is sent on a broken port is dropped. */
  sendFrame(frame: Frame): boolean {
    if (this.#closed) return true;
    const buffers = encodeFrame(frame, this.#generation);
    if (buffers.length === 1) this.#socket.write(buffers[0] as Buffer);
    else {
      this.#socket.cork();
      for (const buffer of buffers) this.#socket.write(buffer);
      process.nextTick(() => this.#socket.uncork());
    }
    const waiting = this.#socket.writableLength;
    if (waiting > MOST_WAITING_BYTES)
      this.#break(new Error(`the guest left ${waiting} bytes unread on port ${this.#number}`));
    else if (waiting > CONGESTED_BYTES) this.#congested = true;
    return !this.#congested;
  }

  /** Takes nothing in any more; QEMU may go on writing for as long as the socket's buffer has room. */
  deafen(): void {
    clearTimeout(this.#timer);
    this.#socket.pause();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket.destroy();
  }

  #hello(): void {
    if (this.#closed) return;
    // A fresh nonce each time: only the echo of the last HELLO counts, since each one that reaches the guest makes it start afresh.
    // While an earlier one is still waiting (the guest boots), another would only pile up.
    if (this.#socket.writableLength === 0) {
      const nonce = newNonce();
      if (this.#hunter) this.#socket.write(FILLER);
      this.#hunter = new EchoHunter(this.#generation, nonce);
      this.#socket.write(helloFrame(this.#number, this.#generation, nonce));
    }
    this.#timer = setTimeout(() => this.#hello(), this.#waitMs);
    this.#waitMs = Math.min(2 * this.#waitMs, ECHO_MOST_MS);
  }

  #take(chunk: Buffer): void {
    if (this.#hunter) {
      const echo = this.#hunter.push(chunk);
      if (!echo) return;
      clearTimeout(this.#timer);
      if (echo.version !== PROTOCOL_VERSION)
        throw new ProtocolError(
          `the guest speaks protocol version ${echo.version}, this caddisd only ${PROTOCOL_VERSION}: rebuild the image`,
        );
      this.#hunter = undefined;
      this.#events.ready();
      this.#parser.push(echo.rest);
    } else this.#parser.push(chunk);
    for (let frame = this.#parser.next(); frame && !this.#closed; frame = this.#parser.next())
      this.#events.frame(frame);
  }

  #guarded(work: () => void): void {
    if (this.#closed) return;
    try {
      work();
    } catch (error) {
      // Only what the guest said is the guest's fault: anything else is a bug and must show.
      if (!(error instanceof ProtocolError)) throw error;
      this.#break(error);
    }
  }

  #break(reason: Error): void {
    if (this.#closed) return;
    this.close();
    this.#events.broken(reason);
  }
}
