import { ProtocolError } from './errors.ts';
import { protocolVersion } from './procedures.ts';

/** Packet types and reply states of libvirt's RPC. */
export const packetType = { call: 0, reply: 1, event: 2, stream: 3 } as const;
export const packetStatus = { ok: 0, error: 1, continue: 2 } as const;

export interface Packet {
  readonly program: number;
  readonly procedure: number;
  readonly type: number;
  readonly serial: number;
  readonly status: number;
  readonly body: Buffer;
}

/** Length word and six header words. */
const headerBytes = 28;
/** Libvirt's VIR_NET_MESSAGE_MAX (32 MiB) plus the length word; the daemon neither sends nor takes more. */
const packetMaxBytes = 32 * 1024 * 1024 + 4;
export const packetBodyMaxBytes = packetMaxBytes - headerBytes;

/** `packet.body` must not be longer than packetBodyMaxBytes. */
export function encodePacket(packet: Packet): Buffer {
  const length = headerBytes + packet.body.length;
  const header = Buffer.allocUnsafe(headerBytes);
  const words = [
    length,
    packet.program,
    protocolVersion,
    packet.procedure,
    packet.type,
    packet.serial,
    packet.status,
  ];
  for (const [index, word] of words.entries()) header.writeUInt32BE(word, index * 4);
  return Buffer.concat([header, packet.body]);
}

/** Cuts a byte stream into packets, holding at most one unfinished packet. */
export class PacketReader {
  #chunks: Buffer[] = [];
  #heldBytes = 0;
  /** Length of the packet at the front, once its first 4 bytes are there. */
  #wantedBytes: number | undefined;

  /** Returns the packets that `chunk` completes. Throws ProtocolError for a length or version that cannot be; the stream is lost then. */
  push(chunk: Buffer): Packet[] {
    this.#chunks.push(chunk);
    this.#heldBytes += chunk.length;
    const packets: Packet[] = [];
    for (;;) {
      if (this.#wantedBytes === undefined) {
        if (this.#heldBytes < 4) return packets;
        this.#wantedBytes = checkedLength(this.#peek(4).readUInt32BE(0));
      }
      if (this.#heldBytes < this.#wantedBytes) return packets;
      const bytes = this.#peek(this.#wantedBytes);
      packets.push(parse(bytes.subarray(0, this.#wantedBytes)));
      const rest = bytes.subarray(this.#wantedBytes);
      this.#chunks = rest.length > 0 ? [rest] : [];
      this.#heldBytes = rest.length;
      this.#wantedBytes = undefined;
    }
  }

  /** The held bytes in one buffer. Chunks are joined only when a whole packet (or its length) is there, so a slow large one is copied once or twice. */
  #peek(bytes: number): Buffer {
    if ((this.#chunks[0]?.length ?? 0) < bytes) this.#chunks = [Buffer.concat(this.#chunks)];
    else if (this.#chunks.length > 1 && bytes > 4) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] as Buffer;
  }
}

function checkedLength(length: number): number {
  if (length < headerBytes || length > packetMaxBytes)
    throw new ProtocolError(
      `expected a libvirt packet of ${headerBytes} to ${packetMaxBytes} bytes, got a length of ${length}: is this a libvirt socket?`,
    );
  return length;
}

function parse(bytes: Buffer): Packet {
  const version = bytes.readUInt32BE(8);
  if (version !== protocolVersion)
    throw new ProtocolError(`expected libvirt protocol version ${protocolVersion}, got ${version}`);
  return {
    program: bytes.readUInt32BE(4),
    procedure: bytes.readUInt32BE(12),
    type: bytes.readUInt32BE(16),
    serial: bytes.readUInt32BE(20),
    status: bytes.readUInt32BE(24),
    body: bytes.subarray(headerBytes),
  };
}
