import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { type HookClient, HookServer } from '../../../src/daemon/hook-server.ts';
import { documentFrames } from '../../../src/guest/protocol/document-frames.ts';
import { encodeFrame, type Frame, frameOf, payloadOf } from '../../../src/guest/protocol/frame.ts';
import { FrameParser } from '../../../src/guest/protocol/parser.ts';
import { type Exit, parseExit } from '../../../src/guest/protocol/session-payloads.ts';
import { TlvWriter } from '../../../src/guest/protocol/tlv.ts';
import { FrameType, Tag } from '../../../src/guest/protocol/types.ts';
import type { HookCall } from '../../../src/model/job.ts';
import { random } from './random.ts';

const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
let dir: string;
let path: string;
let server: HookServer;
let rejected: string[];
let handle: (call: HookCall, client: HookClient) => void;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'caddis-hooks-'));
  path = join(dir, 'hook.sock');
  rejected = [];
  handle = (_call, client) => client.exit(0);
  server = new HookServer({
    handler: (call, client) => handle(call, client),
    rejected: (_socket, reason) => rejected.push(reason),
    openDeadlineMs: 150,
    mostOpening: 8,
  });
  await server.listen({ path, owner });
});

afterEach(async () => {
  await server.close();
  await rm(dir, { recursive: true, force: true });
});

const open = (fields: { uid?: number; pid?: number; arg?: string } = {}) =>
  new TlvWriter()
    .text(Tag.Verb, 'facts')
    .text(Tag.Arg, fields.arg ?? 'x')
    .u64(Tag.Uid, fields.uid ?? owner.uid)
    .u64(Tag.Gid, owner.gid)
    .u64(Tag.Pid, fields.pid ?? process.pid)
    .finish();

/** Sends bytes, answers as caddis-hook does, and gives what came until the end. */
function call(bytes: Buffer): Promise<{ stdout: string; stderr: string; code: number | undefined }> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const parser = new FrameParser(0);
    const text = ['', '', ''];
    let code: number | undefined;
    let exit: Exit | undefined;
    const say = (frame: Frame) => {
      for (const buffer of encodeFrame(frame, 0)) socket.write(buffer);
    };
    socket.write(bytes);
    socket.on('data', (chunk: Buffer) => {
      parser.push(chunk);
      for (let frame = parser.next(); frame; frame = parser.next()) {
        const { session, stream } = frame;
        if (frame.type === FrameType.Data) {
          text[stream] += payloadOf(frame).toString();
          const offset = frame.offset + BigInt(frame.length);
          say(frameOf({ type: FrameType.Ack, session, stream, offset }));
        } else if (frame.type === FrameType.Exit) exit = parseExit(frame);
        if (exit?.stdoutEnd !== BigInt(text[1]?.length ?? 0) || code !== undefined) continue;
        code = exit.status.kind === 'exited' ? exit.status.code : -1;
        say(frameOf({ type: FrameType.ExitAck, session }));
      }
    });
    socket.on('error', () => undefined);
    socket.once('close', () => resolve({ stdout: text[1] ?? '', stderr: text[2] ?? '', code }));
    socket.setTimeout(3000, () => reject(new Error('the server neither answered nor hung up')));
  });
}

const bytesOf = (document: Buffer) =>
  Buffer.concat(documentFrames(FrameType.Open, 0n, document).flatMap((frame) => encodeFrame(frame, 0)));

test('a call is parsed, answered and ended, also when it is large', async () => {
  let seen: HookCall | undefined;
  handle = (hookCall, client) => {
    seen = hookCall;
    client.stdout('o'.repeat(700_000));
    client.stderr('warning\n');
    client.exit(9);
  };
  const answer = await call(bytesOf(open({ arg: 'y'.repeat(2_000_000) })));
  // Not toEqual: its difference would be 700,000 characters long.
  expect(answer.stdout === 'o'.repeat(700_000)).toBe(true);
  expect(answer).toMatchObject({ stderr: 'warning\n', code: 9 });
  expect(seen?.verb).toBe('facts');
  expect(seen?.args[0]).toHaveLength(2_000_000);
});

test("the socket is the owner's alone and goes with unlisten", async () => {
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  await server.unlisten(path);
  await expect(stat(path)).rejects.toThrow(/ENOENT/);
});

test('what the handler throws reaches the caller', async () => {
  handle = () => {
    throw new Error('no such job');
  };
  expect(await call(bytesOf(open()))).toEqual({ stdout: '', stderr: 'caddis: no such job\n', code: 1 });
});

test.each([
  ['another uid than its process has', open({ uid: 0, pid: 1 + 2 ** 21 }), /no process|says/],
  ['a uid that the socket does not belong to', open({ uid: 4242 }), /uid 4242 on the socket/],
  ['no document', Buffer.from('junk that is no document'), /document/],
])('a call with %s is refused', async (_what, document, reason) => {
  let calls = 0;
  handle = () => {
    calls += 1;
  };
  expect((await call(bytesOf(document))).code).toBeUndefined();
  expect(calls).toBe(0);
  expect(rejected[0]).toMatch(reason);
});

test('who sends nothing is hung up on', async () => {
  expect((await call(Buffer.alloc(0))).code).toBeUndefined();
  expect(rejected).toEqual(['no whole OPEN within the deadline']);
});

test('junk clients hurt nobody else', async () => {
  const junk = Array.from({ length: 60 }, (_, seed) => {
    const pick = random(seed + 1);
    const bytes = bytesOf(open());
    const damaged = Buffer.from(bytes.subarray(0, 1 + pick(bytes.length)));
    damaged[pick(damaged.length)] = pick(256);
    return call(pick(2) === 0 ? damaged : Buffer.from(Array.from({ length: 200 }, () => pick(256))));
  });
  const good = await Promise.all(Array.from({ length: 20 }, () => call(bytesOf(open()))));
  expect(good.every((answer) => answer.code === 0)).toBe(true);
  await Promise.all(junk);
  expect(rejected.length).toBeGreaterThan(30);
});

test('only some OPENs are read at a time: who holds back the end of a large one takes no memory beyond that', async () => {
  const begun = performance.now();
  const slow = Array.from({ length: 24 }, () => call(bytesOf(open()).subarray(0, -1)));
  const good = await call(bytesOf(open()));
  expect(good.code).toBe(0);
  expect((await Promise.all(slow)).every(({ code }) => code === undefined)).toBe(true);
  // Eight at a time, each for its 150 ms.
  expect(performance.now() - begun).toBeGreaterThan(400);
});

test('a stale socket is replaced, a live one and a file are not', async () => {
  const second = new HookServer({ handler: () => undefined });
  await expect(second.listen({ path, owner })).rejects.toThrow(/another caddisd/);
  const file = join(dir, 'file');
  await writeFile(file, 'precious');
  await expect(second.listen({ path: file, owner })).rejects.toThrow(/no socket/);
  expect((await call(bytesOf(open()))).code).toBe(0);
});
