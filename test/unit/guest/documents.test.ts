import { describe, expect, test } from 'vitest';

import { parsePressure, parseSetupResult } from '../../../src/guest/protocol/machine-documents.ts';
import { parseOpen } from '../../../src/guest/protocol/open-document.ts';
import { encodeStart, type StartDocument } from '../../../src/guest/protocol/start-document.ts';
import { readTlv, TlvWriter } from '../../../src/guest/protocol/tlv.ts';
import { ProtocolError, Tag } from '../../../src/guest/protocol/types.ts';
import { random } from './random.ts';

const START: StartDocument = {
  argv: ['sh', '-c', 'true', ''],
  program: '/bin/sh',
  pathSearch: true,
  env: { A: '1', B: 'x=y\nz', __proto__x: '' },
  cwd: '/tmp',
  uid: 1000,
  gid: 100,
  groups: [100, 4_000_000_000],
  umask: 0o27,
  rlimits: [{ resource: 7, soft: 1024n, hard: 2n ** 64n - 1n }],
  cpus: [0, 3],
  nice: -5,
  terminal: { rows: 24, columns: 80, xPixels: 0, yPixels: 1 },
  termios: Buffer.from([1, 2, 3]),
  mergeStderr: true,
  stdinNull: true,
  files: [{ path: '/a', mode: 0o700, uid: 1, gid: 2, content: Buffer.from('#!') }],
  memoryLimit: { bytes: 512, source: '--mem' },
};

describe('OPEN', () => {
  test('says again what was put in', () => {
    const { program, pathSearch, mergeStderr, stdinNull, files, memoryLimit, argv, env, ...same } = START;
    const call = parseOpen(encodeStart(START));
    expect(call).toMatchObject({ ...same, args: argv });
    expect({ ...call.env }).toEqual(env);
    const tags = [...readTlv(encodeStart(START))].map(({ tag }) => tag);
    expect(tags).toEqual(
      expect.arrayContaining([Tag.Program, Tag.PathSearch, Tag.Merge, Tag.StdinNull, Tag.Note]),
    );
  });

  test.each([
    ['a NUL in a text', new TlvWriter().bytes(Tag.Arg, Buffer.from('a\0b'))],
    ['no UID', new TlvWriter().text(Tag.Verb, 'exec')],
    ['a short number', new TlvWriter().bytes(Tag.Uid, Buffer.alloc(4))],
    ['a uid above 32 bits', new TlvWriter().u64(Tag.Uid, 2n ** 32n).u64(Tag.Gid, 0)],
    ['a wild nice value', new TlvWriter().u64(Tag.Nice, 1000)],
  ])('with %s is refused', (_what, writer) => {
    expect(() => parseOpen(writer.finish())).toThrow(ProtocolError);
  });

  test('cut or damaged anywhere is parsed or refused, nothing else', () => {
    const whole = encodeStart(START);
    for (let seed = 1; seed <= 500; seed++) {
      const pick = random(seed);
      const bytes = Buffer.from(whole.subarray(0, pick(whole.length + 1)));
      if (bytes.length > 0) bytes[pick(bytes.length)] = pick(256);
      for (const parse of [parseOpen, parsePressure, parseSetupResult])
        try {
          parse(bytes);
        } catch (error) {
          expect(error, `seed ${seed}`).toBeInstanceOf(ProtocolError);
        }
    }
  });

  test('a variable called __proto__ is only a variable', () => {
    const document = new TlvWriter().u64(Tag.Uid, 1).u64(Tag.Gid, 1).text(Tag.Env, '__proto__=x').finish();
    expect(Object.keys(parseOpen(document).env)).toEqual(['__proto__']);
  });
});

test('a guest that repeats entries without end is refused', () => {
  const writer = new TlvWriter();
  for (let i = 0; i < 2000; i++) writer.text(Tag.Psi, 'x');
  expect(() => parsePressure(writer.finish())).toThrow(/more than/);
});

test('a report says what a job holds, and a limit that is none is none', () => {
  const none = 2n ** 64n - 1n;
  const document = new TlvWriter().u64(Tag.JobUse, 5n << 20n, 1n << 30n, none).finish();
  expect(parsePressure(document).walls).toEqual({
    heldBytes: 5 * 1024 ** 2,
    wallBytes: 1024 ** 3,
    markBytes: undefined,
  });
  expect(parsePressure(Buffer.alloc(0)).walls).toBeUndefined();
});

test.each([
  [0, false, false],
  [1, true, false],
  [2, false, true],
  [3, true, true],
])('a report of a job that is frozen (%i) says why', (bits, byLease, byPause) => {
  const writer = new TlvWriter();
  if (bits > 0) writer.u64(Tag.Frozen, bits);
  expect(parsePressure(writer.finish()).frozen).toEqual({ byLease, byPause });
});
