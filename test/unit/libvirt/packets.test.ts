import { describe, expect, it } from 'vitest';

import { ProtocolError } from '../../../src/libvirt/errors.ts';
import { encodePacket, type Packet, PacketReader } from '../../../src/libvirt/packets.ts';
import { program } from '../../../src/libvirt/procedures.ts';
import { randomSource } from './random.ts';

function packet(serial: number, bodyBytes: number): Packet {
  return {
    program: program.remote,
    procedure: 23,
    type: 1,
    serial,
    status: 0,
    body: Buffer.alloc(bodyBytes, serial),
  };
}

describe('PacketReader', () => {
  it('finds the packets however the stream is cut', () => {
    const random = randomSource(3);
    for (let round = 0; round < 100; round += 1) {
      const sent = Array.from({ length: 1 + random.below(6) }, (_, index) =>
        packet(index, random.below(300)),
      );
      const stream = Buffer.concat(sent.map(encodePacket));
      const reader = new PacketReader();
      const got: Packet[] = [];
      for (let at = 0; at < stream.length; ) {
        const next = at + 1 + random.below(200);
        got.push(...reader.push(stream.subarray(at, next)));
        at = next;
      }
      expect(got).toEqual(sent);
    }
  });

  it('works byte by byte', () => {
    const reader = new PacketReader();
    const got = [...encodePacket(packet(7, 5))].flatMap((byte) => reader.push(Buffer.from([byte])));
    expect(got).toEqual([packet(7, 5)]);
  });

  it.each([0, 4, 27, 33554437, 0xffffffff])(
    'refuses a length of %i at once, without waiting for it',
    (length) => {
      const head = Buffer.alloc(4);
      head.writeUInt32BE(length);
      expect(() => new PacketReader().push(head)).toThrow(ProtocolError);
    },
  );

  it('refuses another protocol version', () => {
    const bytes = encodePacket(packet(1, 0));
    bytes.writeUInt32BE(2, 8);
    expect(() => new PacketReader().push(bytes)).toThrow(/expected libvirt protocol version 1, got 2/);
  });

  it('takes a large packet in many chunks in linear time', () => {
    const bytes = encodePacket(packet(1, 32 * 1024 * 1024 - 24));
    const reader = new PacketReader();
    const startedMs = performance.now();
    let got = 0;
    for (let at = 0; at < bytes.length; at += 16384)
      got += reader.push(bytes.subarray(at, at + 16384)).length;
    expect(got).toBe(1);
    // Copying everything at each of the 2,048 chunks would be 34 GB; once is tens of ms.
    expect(performance.now() - startedMs).toBeLessThan(2000);
  });

  it('takes random streams with packets or a ProtocolError, never anything else', () => {
    const random = randomSource(4);
    for (let round = 0; round < 2000; round += 1) {
      const reader = new PacketReader();
      const bytes = Buffer.from(
        Array.from({ length: 64 }, () => (random.below(3) === 0 ? random.below(64) : 0)),
      );
      try {
        reader.push(bytes);
        reader.push(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError);
      }
    }
  });
});
