/**
 * XDR (RFC 4506) as libvirt uses it: big-endian, everything padded to 4 bytes. Both sides are bounded: a decoder never reads past its packet and
 * never believes a length or a count that the rest of the packet could not hold, so a hostile peer cannot make it allocate more than it sent.
 */

/** A packet said something that cannot be. The connection that it came over is not to be trusted any further. */
export class XdrError extends Error {
  override name = 'XdrError';
}

/** Libvirt's REMOTE_STRING_MAX since 2012: the daemon refuses longer strings, so we say so before sending. */
const stringMaxBytes = 4 * 1024 * 1024;

export class Encoder {
  readonly #parts: Buffer[] = [];

  u32(value: number): this {
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff)
      throw new RangeError(`expected an unsigned 32-bit integer, got ${value}`);
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeUInt32BE(value);
    return this.#push(bytes);
  }

  i32(value: number): this {
    if (!Number.isInteger(value) || value < -0x80000000 || value > 0x7fffffff)
      throw new RangeError(`expected a signed 32-bit integer, got ${value}`);
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeInt32BE(value);
    return this.#push(bytes);
  }

  u64(value: bigint | number): this {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeBigUInt64BE(BigInt(value));
    return this.#push(bytes);
  }

  i64(value: bigint | number): this {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeBigInt64BE(BigInt(value));
    return this.#push(bytes);
  }

  f64(value: number): this {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeDoubleBE(value);
    return this.#push(bytes);
  }

  bool(value: boolean): this {
    return this.u32(value ? 1 : 0);
  }

  /** Bytes whose length both sides know. */
  fixedOpaque(bytes: Uint8Array): this {
    this.#parts.push(Buffer.from(bytes));
    const padding = paddingOf(bytes.length);
    return padding === 0 ? this : this.#push(Buffer.alloc(padding));
  }

  /** Bytes after their length. */
  opaque(bytes: Uint8Array): this {
    return this.u32(bytes.length).fixedOpaque(bytes);
  }

  string(text: string): this {
    const bytes = Buffer.from(text, 'utf8');
    if (bytes.length > stringMaxBytes)
      throw new RangeError(`libvirt takes strings of at most ${stringMaxBytes} bytes, got ${bytes.length}`);
    if (bytes.includes(0)) throw new RangeError('libvirt strings cannot hold a NUL character');
    return this.opaque(bytes);
  }

  optionalString(text: string | undefined): this {
    return text === undefined ? this.bool(false) : this.bool(true).string(text);
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #push(bytes: Buffer): this {
    this.#parts.push(bytes);
    return this;
  }
}

export class Decoder {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get remainingBytes(): number {
    return this.#bytes.length - this.#offset;
  }

  u32(): number {
    return this.#bytes.readUInt32BE(this.#take(4));
  }

  i32(): number {
    return this.#bytes.readInt32BE(this.#take(4));
  }

  u64(): bigint {
    return this.#bytes.readBigUInt64BE(this.#take(8));
  }

  i64(): bigint {
    return this.#bytes.readBigInt64BE(this.#take(8));
  }

  f64(): number {
    return this.#bytes.readDoubleBE(this.#take(8));
  }

  bool(): boolean {
    return this.u32() !== 0;
  }

  fixedOpaque(lengthBytes: number): Buffer {
    const start = this.#take(lengthBytes + paddingOf(lengthBytes));
    return Buffer.from(this.#bytes.subarray(start, start + lengthBytes));
  }

  opaque(): Buffer {
    return this.fixedOpaque(this.u32());
  }

  string(): string {
    const lengthBytes = this.u32();
    const start = this.#take(lengthBytes + paddingOf(lengthBytes));
    return this.#bytes.toString('utf8', start, start + lengthBytes);
  }

  optionalString(): string | undefined {
    return this.bool() ? this.string() : undefined;
  }

  /** A counted array. `minimumBytes` (at least 4) is what one element takes at least on the wire: the count is checked against it first. */
  array<T>(minimumBytes: number, element: () => T): T[] {
    const count = this.u32();
    if (count * Math.max(4, minimumBytes) > this.remainingBytes)
      throw new XdrError(
        `expected ${count} elements of at least ${minimumBytes} bytes, got ${this.remainingBytes} bytes`,
      );
    return Array.from({ length: count }, element);
  }

  #take(lengthBytes: number): number {
    if (lengthBytes > this.remainingBytes)
      throw new XdrError(
        `expected ${lengthBytes} more bytes at offset ${this.#offset}, got ${this.remainingBytes}`,
      );
    const start = this.#offset;
    this.#offset += lengthBytes;
    return start;
  }
}

function paddingOf(lengthBytes: number): number {
  return (4 - (lengthBytes % 4)) % 4;
}
