import { DOCUMENT_MAX_BYTES, ProtocolError } from './types.ts';

const ENTRY_BYTES = 8;

/** Yields the entries of a document; values are slices of it. Throws ProtocolError when it is cut. */
export function* readTlv(document: Buffer): Generator<{ readonly tag: number; readonly value: Buffer }> {
  let at = 0;
  while (at < document.length) {
    if (document.length - at < ENTRY_BYTES)
      throw new ProtocolError(`document: ${document.length - at} stray bytes at ${at}`);
    const tag = document.readUInt16LE(at);
    const length = document.readUInt32LE(at + 4);
    at += ENTRY_BYTES;
    if (length > document.length - at)
      throw new ProtocolError(`document: tag ${tag} says ${length} bytes, ${document.length - at} are left`);
    yield { tag, value: document.subarray(at, at + length) };
    at += length;
  }
}

/** Builds a document. */
export class TlvWriter {
  readonly #parts: Buffer[] = [];
  #bytes = 0;

  bytes(tag: number, ...values: Buffer[]): this {
    const length = values.reduce((sum, value) => sum + value.length, 0);
    const entry = Buffer.alloc(ENTRY_BYTES);
    entry.writeUInt16LE(tag, 0);
    entry.writeUInt32LE(length, 4);
    this.#parts.push(entry, ...values);
    this.#bytes += ENTRY_BYTES + length;
    return this;
  }

  /** Strings carry no NUL: one inside is a RangeError (it would cut the string on the C side). */
  text(tag: number, value: string): this {
    if (value.includes('\0'))
      throw new RangeError(`a text with a NUL byte cannot be sent: ${JSON.stringify(value.slice(0, 80))}`);
    return this.bytes(tag, Buffer.from(value, 'utf8'));
  }

  u64(tag: number, ...values: (number | bigint)[]): this {
    return this.bytes(tag, u64s(values));
  }

  /** Throws RangeError above 8 MiB. */
  finish(): Buffer {
    if (this.#bytes > DOCUMENT_MAX_BYTES)
      throw new RangeError(
        `document of ${this.#bytes} bytes (environment, arguments, files): at most ${DOCUMENT_MAX_BYTES}`,
      );
    return Buffer.concat(this.#parts, this.#bytes);
  }
}

/** Little-endian u64s; negative numbers in two's complement. */
export function u64s(values: readonly (number | bigint)[]): Buffer {
  const out = Buffer.alloc(8 * values.length);
  for (const [i, value] of values.entries()) out.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), 8 * i);
  return out;
}

/** Exactly `count` u64s. Throws ProtocolError naming `what`. */
export function readU64s(value: Buffer, count: number, what: string): bigint[] {
  if (value.length !== 8 * count)
    throw new ProtocolError(`${what}: expected ${8 * count} bytes, got ${value.length}`);
  return Array.from({ length: count }, (_, i) => value.readBigUInt64LE(8 * i));
}

/** One u64 that fits a number. Throws ProtocolError naming `what`. */
export function readNumber(value: Buffer, what: string, max: number = Number.MAX_SAFE_INTEGER): number {
  const number = readU64s(value, 1, what)[0] as bigint;
  if (number > BigInt(max)) throw new ProtocolError(`${what}: ${number} is above ${max}`);
  return Number(number);
}

/** UTF-8 text, at most `maxBytes`. */
export function readText(value: Buffer, what: string, maxBytes: number = DOCUMENT_MAX_BYTES): string {
  if (value.length > maxBytes) throw new ProtocolError(`${what}: ${value.length} bytes, at most ${maxBytes}`);
  if (value.includes(0)) throw new ProtocolError(`${what}: a NUL byte inside`);
  return value.toString('utf8');
}
