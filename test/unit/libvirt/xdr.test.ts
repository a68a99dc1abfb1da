import { describe, expect, it } from 'vitest';

import { decodeDomain, encodeDomain } from '../../../src/libvirt/domain.ts';
import { eventTypes } from '../../../src/libvirt/events.ts';
import { decodeParams, encodeParams, paramsFrom, type TypedParam } from '../../../src/libvirt/params.ts';
import { schedulerParams } from '../../../src/libvirt/tuning.ts';
import { Decoder, Encoder, XdrError } from '../../../src/libvirt/xdr.ts';
import { randomSource } from './random.ts';

describe('XDR', () => {
  it('pads strings and opaques to 4 bytes, big-endian', () => {
    const bytes = new Encoder().string('abcde').u32(1).optionalString(undefined).optionalString('x').finish();
    expect(bytes.toString('hex')).toBe('0000000561626364650000000000000100000000000000010000000178000000');
  });

  it('gives back what was put in', () => {
    const random = randomSource(1);
    for (let round = 0; round < 300; round += 1) {
      const text = Array.from({ length: random.below(40) }, () =>
        String.fromCodePoint(1 + random.below(0xd7fe)),
      ).join('');
      const [u, i] = [random.below(2 ** 32), random.below(2 ** 32) - 2 ** 31];
      const [u64, i64] = [random.bigint(64), random.bigint(64) - 2n ** 63n];
      const bytes = Buffer.from(Array.from({ length: random.below(9) }, () => random.below(256)));
      const from = new Decoder(
        new Encoder()
          .string(text)
          .u32(u)
          .i32(i)
          .u64(u64)
          .i64(i64)
          .opaque(bytes)
          .f64(i / 7)
          .bool(u % 2 === 0)
          .finish(),
      );
      expect(from.string()).toBe(text);
      expect([from.u32(), from.i32(), from.u64(), from.i64()]).toEqual([u, i, u64, i64]);
      expect(from.opaque()).toEqual(bytes);
      expect([from.f64(), from.bool(), from.remainingBytes]).toEqual([i / 7, u % 2 === 0, 0]);
    }
  });

  it('refuses values that do not fit, and NUL characters', () => {
    expect(() => new Encoder().u32(-1)).toThrow(RangeError);
    expect(() => new Encoder().u32(2 ** 32)).toThrow(RangeError);
    expect(() => new Encoder().u32(1.5)).toThrow(RangeError);
    expect(() => new Encoder().i32(2 ** 31)).toThrow(RangeError);
    expect(() => new Encoder().u64(-1)).toThrow(RangeError);
    expect(() => new Encoder().string('a\0b')).toThrow(/NUL/);
    expect(() => new Encoder().string('x'.repeat(4 * 1024 * 1024 + 1))).toThrow(/at most 4194304/);
  });

  it('believes no count and no length that the packet cannot hold', () => {
    const huge = new Encoder().u32(0xffffffff).u32(0).finish();
    let made = 0;
    expect(() => new Decoder(huge).array(4, () => (made += 1))).toThrow(XdrError);
    expect(() => new Decoder(huge).array(0, () => (made += 1))).toThrow(XdrError);
    expect(made).toBe(0);
    expect(() => new Decoder(huge).string()).toThrow(XdrError);
    expect(() => new Decoder(huge).opaque()).toThrow(XdrError);
  });
});

describe('typed parameters', () => {
  const params: readonly TypedParam[] = [
    { name: 'a', type: 'int', value: -5 },
    { name: 'b', type: 'uint', value: 2 ** 32 - 1 },
    { name: 'c', type: 'llong', value: -1n },
    { name: 'd', type: 'ullong', value: 2n ** 64n - 1n },
    { name: 'e', type: 'double', value: 0.5 },
    { name: 'f', type: 'boolean', value: true },
    { name: '__proto__', type: 'string', value: 'ü' },
  ];
  const bytes = encodeParams(new Encoder(), params).finish();

  it('round trip, whatever the names are', () => {
    const values = decodeParams(new Decoder(bytes));
    expect(Object.entries(values)).toEqual(params.map(({ name, value }) => [name, value]));
  });

  it('refuses a truncated list at every length', () => {
    for (let length = 0; length < bytes.length; length += 1)
      expect(() => decodeParams(new Decoder(bytes.subarray(0, length)))).toThrow(XdrError);
  });

  it('refuses a type that does not exist', () => {
    const bad = new Encoder().u32(1).string('x').u32(8).u32(0).finish();
    expect(() => decodeParams(new Decoder(bad))).toThrow(/from 1 to 7 for "x", got 8/);
  });

  it('are made from plain objects by table', () => {
    expect(paramsFrom(schedulerParams, { cpu_shares: 512, vcpu_quota: -1, vcpu_period: undefined })).toEqual([
      { name: 'cpu_shares', type: 'ullong', value: 512n },
      { name: 'vcpu_quota', type: 'llong', value: -1n },
    ]);
    const misspelt = { cpu_share: 512 } as Record<string, number>;
    expect(() => paramsFrom(schedulerParams, misspelt)).toThrow(
      /expected one of cpu_shares, .* got parameter "cpu_share"/,
    );
  });
});

describe('decoders of domains and events', () => {
  const domain = { name: 'm1', uuid: '6695eb01-f6a4-8304-79aa-97f2502e193f', id: -1 };

  it('round trip a domain and refuse what is no uuid', () => {
    expect(decodeDomain(new Decoder(encodeDomain(new Encoder(), domain).finish()))).toEqual(domain);
    expect(() => encodeDomain(new Encoder(), { ...domain, uuid: 'm1' })).toThrow(/expected a uuid, got "m1"/);
  });

  it('name lifecycle events, and numbers that come later', () => {
    const decode = (event: number, reason: number) =>
      eventTypes.lifecycle.decode(
        new Decoder(encodeDomain(new Encoder(), domain).i32(event).i32(reason).finish()),
      );
    expect(decode(5, 4)).toEqual({ kind: 'lifecycle', domain, event: 'stopped', reason: 'saved' });
    expect(decode(8, 0)).toMatchObject({ event: 'crashed', reason: 'panicked' });
    expect(decode(99, -1)).toMatchObject({ event: 'unknown-99', reason: 'unknown--1' });
  });

  it('take random bytes with a value or an XdrError, never anything else', () => {
    const random = randomSource(2);
    let refused = 0;
    for (let round = 0; round < 3000; round += 1) {
      // Small words make lengths and counts plausible, so that decoding gets further than the first field.
      const words = Array.from({ length: random.below(30) }, () =>
        random.below(random.below(4) === 0 ? 2 ** 32 : 6),
      );
      const bytes = Buffer.from(new Uint32Array(words).buffer).swap32();
      for (const type of Object.values(eventTypes)) {
        try {
          type.decode(new Decoder(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(XdrError);
          refused += 1;
        }
      }
    }
    expect(refused).toBeGreaterThan(1000);
  });
});
