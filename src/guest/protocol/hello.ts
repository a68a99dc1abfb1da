import { randomBytes, randomInt } from 'node:crypto';

import { encodeFrame, frameOf } from './frame.ts';
import { FrameType, HEADER_BYTES, PROTOCOL_VERSION, TRAILER_BYTES } from './types.ts';

/** Port numbers in HELLO. */
export const Port = { Control: 0, Bulk: 1 } as const;
export type PortNumber = (typeof Port)[keyof typeof Port];

const NONCE_BYTES = 16;
const HELLO_BYTES = 24;

/** A HELLO for `port` in one buffer. Any HELLO is answered by a guest that is alive. */
export function helloFrame(
  port: PortNumber,
  generation: number = newGeneration(),
  nonce: Buffer = newNonce(),
): Buffer {
  const payload = Buffer.alloc(HELLO_BYTES);
  nonce.copy(payload, 0, 0, NONCE_BYTES);
  payload.writeUInt16LE(PROTOCOL_VERSION, 16);
  payload.writeUInt16LE(PROTOCOL_VERSION, 18);
  payload.writeUInt32LE(port, 20);
  return Buffer.concat(encodeFrame(frameOf({ type: FrameType.Hello, payload }), generation));
}

/** A random link generation: never 0, which means "unix socket leg". */
export function newGeneration(): number {
  return randomInt(1, 2 ** 32);
}

export function newNonce(): Buffer {
  return randomBytes(NONCE_BYTES);
}

/** Finds the echo of one HELLO in whatever an older link left in flight; keeps no more than one echo's bytes. */
export class EchoHunter {
  readonly #needle: Buffer;
  #held: Buffer = Buffer.alloc(0);
  discardedBytes = 0;

  constructor(generation: number, nonce: Buffer) {
    this.#needle = helloFrame(Port.Control, generation, nonce).subarray(0, HEADER_BYTES + NONCE_BYTES);
  }

  /** Once the whole echo came: the guest's version, and the bytes after it. */
  push(chunk: Buffer): { readonly version: number; readonly rest: Buffer } | undefined {
    const bytes = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    const at = bytes.indexOf(this.#needle);
    const end = at + HEADER_BYTES + HELLO_BYTES + TRAILER_BYTES;
    if (at >= 0 && bytes.length >= end) {
      this.discardedBytes += at;
      return { version: bytes.readUInt16LE(at + this.#needle.length), rest: bytes.subarray(end) };
    }
    const keep = at >= 0 ? bytes.length - at : Math.min(bytes.length, this.#needle.length - 1);
    this.discardedBytes += bytes.length - keep;
    this.#held = Buffer.from(bytes.subarray(bytes.length - keep));
    return undefined;
  }
}
