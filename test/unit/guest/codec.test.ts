import { readFileSync } from 'node:fs';

import { describe, expect, test } from 'vitest';

import { DocumentAssembler, documentFrames } from '../../../src/guest/protocol/document-frames.ts';
import { encodeFrame, type Frame, frameOf, payloadOf } from '../../../src/guest/protocol/frame.ts';
import { EchoHunter, helloFrame, newNonce } from '../../../src/guest/protocol/hello.ts';
import { FrameParser } from '../../../src/guest/protocol/parser.ts';
import { ProtocolError } from '../../../src/guest/protocol/types.ts';
import { goldenFrames } from './golden.ts';
import { random } from './random.ts';

const bytesOf = (frame: Frame, link: number) => Buffer.concat(encodeFrame(frame, link));

function parseAll(bytes: Buffer, link: number, cut: () => number): Frame[] {
  const parser = new FrameParser(link);
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + Math.max(1, cut()));
    parser.push(bytes.subarray(at, end));
    at = end;
    for (let frame = parser.next(); frame; frame = parser.next()) frames.push(frame);
  }
  return frames;
}

describe('frames', () => {
  test('the golden files hold what this codec writes, and it reads them', () => {
    const file = JSON.parse(readFileSync(new URL('../../golden/frames.json', import.meta.url), 'utf8'));
    expect(file).toEqual(goldenFrames());
    for (const golden of goldenFrames()) {
      const [frame] = parseAll(Buffer.from(golden.hex, 'hex'), golden.link, () => 70_000);
      expect(frame && payloadOf(frame).toString('hex')).toBe(golden.payload);
      expect(frame).toMatchObject({ type: golden.type, stream: golden.stream, flags: golden.flags });
      expect([String(frame?.session), String(frame?.offset)]).toEqual([golden.session, golden.offset]);
    }
  });

  test('arrive whole however they are cut', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const pick = random(seed);
      const link = pick(2) === 0 ? 0 : pick(2 ** 31) + 1;
      const sent = Array.from({ length: 12 }, () =>
        frameOf({
          type: 16 + pick(12),
          stream: pick(3),
          flags: pick(65_536),
          session: BigInt(pick(2 ** 31)) << 32n,
          offset: BigInt(pick(2 ** 31)),
          payload: Buffer.alloc([0, 1, 31, 2047, 2049, 65_536][pick(6)] as number, pick(256)),
        }),
      );
      const bytes = Buffer.concat(sent.map((frame) => bytesOf(frame, link)));
      const most = [3, 100, 5000, 65_536, 200_000][pick(5)] as number;
      const got = parseAll(bytes, link, () => pick(most) + (bytes.length > 100_000 ? 20 : 0));
      expect(got.length, `seed ${seed}`).toBe(sent.length);
      for (const [i, frame] of got.entries())
        expect(bytesOf(frame, link).equals(bytesOf(sent[i] as Frame, link)), `seed ${seed}`).toBe(true);
    }
  });

  test.each([
    ['magic', 0, 0xff],
    ['a length above the bound', 10, 0x02],
    ['link', 12, 0x55],
    ['trailer', 40, 0x55],
  ])('with a wrong %s are refused, and so is what follows', (_what, at, value) => {
    const bytes = bytesOf(frameOf({ type: 20, payload: Buffer.from('12345678') }), 7);
    bytes[at] = value;
    const parser = new FrameParser(7);
    parser.push(bytes);
    expect(() => parser.next()).toThrow(ProtocolError);
    parser.push(bytesOf(frameOf({ type: 20 }), 7));
    expect(() => parser.next()).toThrow(ProtocolError);
  });

  test('random bytes never give a frame', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const pick = random(seed);
      const parser = new FrameParser(0);
      parser.push(Buffer.from(Array.from({ length: 32 + pick(200) }, () => pick(256))));
      expect(() => parser.next(), `seed ${seed}`).toThrow(ProtocolError);
    }
  });
});

describe('the echo of HELLO', () => {
  test('is found behind garbage and stale echoes, however it is cut', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const pick = random(seed);
      const nonce = newNonce();
      const garbage = Buffer.from(Array.from({ length: pick(300) }, () => pick(256)));
      const stale = helloFrame(0, 99, newNonce());
      const torn = helloFrame(0, 99, nonce).subarray(0, pick(50));
      const rest = Buffer.from('rest');
      const bytes = Buffer.concat([garbage, stale, torn, helloFrame(0, 1234, nonce), rest]);
      const hunter = new EchoHunter(1234, nonce);
      let found: ReturnType<EchoHunter['push']>;
      let at = 0;
      while (!found && at < bytes.length) {
        const end = Math.min(bytes.length, at + 1 + pick(80));
        found = hunter.push(bytes.subarray(at, end));
        at = end;
      }
      expect(found?.version, `seed ${seed}`).toBe(1);
      expect(Buffer.concat([found?.rest ?? Buffer.alloc(0), bytes.subarray(at)]).toString()).toBe('rest');
    }
  });

  test('of another nonce or generation does not count', () => {
    const nonce = newNonce();
    const hunter = new EchoHunter(1234, nonce);
    expect(hunter.push(helloFrame(0, 1234, newNonce()))).toBeUndefined();
    expect(hunter.push(helloFrame(0, 1235, nonce))).toBeUndefined();
    expect(hunter.push(helloFrame(0, 1234, nonce))).toBeDefined();
  });
});

describe('documents in parts', () => {
  test('come together again', () => {
    for (const length of [0, 1, 65_536, 65_537, 300_000]) {
      const document = Buffer.alloc(length, 'x');
      const assembler = new DocumentAssembler();
      const whole = documentFrames(16, 5n, document).map((frame) => assembler.take(frame));
      expect(whole.pop()?.equals(document)).toBe(true);
      expect(whole.every((part) => part === undefined)).toBe(true);
    }
  });

  test('that do not fit, are too many or too long are refused', () => {
    const part = (session: bigint, offset: number, bytes: number) =>
      frameOf({ type: 16, session, flags: 0x8000, offset: BigInt(offset), payload: Buffer.alloc(bytes) });
    const gap = new DocumentAssembler();
    gap.take(part(1n, 0, 10));
    expect(() => gap.take(part(1n, 11, 10))).toThrow(ProtocolError);
    expect(() => gap.take(part(2n, 0, 0))).toThrow(ProtocolError);
    const many = new DocumentAssembler(2);
    many.take(part(1n, 0, 10));
    many.take(part(2n, 0, 10));
    expect(() => many.take(part(3n, 0, 10))).toThrow(/more than 2/);
    const long = new DocumentAssembler();
    expect(() => {
      for (let at = 0; at <= 9 * 1024 * 1024; at += 65_536) long.take(part(1n, at, 65_536));
    }).toThrow(/above/);
  });
});
