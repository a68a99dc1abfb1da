import {
  encodeFrame,
  type Frame,
  type FrameFields,
  frameOf,
  payloadOf,
} from '../../../src/guest/protocol/frame.ts';
import { helloFrame } from '../../../src/guest/protocol/hello.ts';
import { encodeWake } from '../../../src/guest/protocol/machine-documents.ts';
import { askMoved, encodeMoved, encodeResume } from '../../../src/guest/protocol/move-documents.ts';
import { encodeExit } from '../../../src/guest/protocol/session-payloads.ts';
import { TlvWriter, u64s } from '../../../src/guest/protocol/tlv.ts';
import { FrameType, GUEST_OPENED, MORE, Stream, Tag } from '../../../src/guest/protocol/types.ts';

/** A frame as test/golden/frames.json holds it; big numbers are decimal text, bytes hex. */
export interface GoldenFrame {
  readonly name: string;
  readonly hex: string;
  readonly type: number;
  readonly stream: number;
  readonly flags: number;
  readonly link: number;
  readonly session: string;
  readonly offset: string;
  readonly payload: string;
}

/** The frames of both golden files, from the TypeScript codec. */
export function goldenFrames(): GoldenFrame[] {
  const link = 0xdeadbeef;
  const nonce = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
  const hello = helloFrame(1, link, nonce);
  const document = new TlvWriter().text(Tag.Arg, 'true').u64(Tag.Uid, 1000).bytes(Tag.PathSearch).finish();
  const exit = encodeExit(7n, {
    status: { kind: 'not-started', errno: 2, message: 'no such file' },
    stdoutEnd: 5n,
    stderrEnd: 2n ** 40n,
  });
  const wake = encodeWake({ clockNs: 10n ** 18n, seed: Buffer.alloc(32, 7), hosts: '10.0.0.1 node1' });
  const pressure = new TlvWriter().u64(Tag.OomKills, 0).u64(Tag.Frozen, 3).finish();
  const resume = encodeResume(7n, [
    { stream: Stream.Stdout, delivered: 10n, file: { path: '/home/u/.caddis-kept', length: 15n } },
    { stream: Stream.Stderr, delivered: 3n, file: undefined },
  ]);
  const moved = encodeMoved(7n, [
    { delivered: 10n, position: 15n, device: 2n ** 33n, inode: 99n },
    { delivered: 3n },
  ]);
  const all: { name: string; link: number; fields: FrameFields }[] = [
    { name: 'hello', link, fields: { type: FrameType.Hello, payload: hello.subarray(32, 56) } },
    { name: 'ping', link, fields: { type: FrameType.Ping, offset: 2n ** 64n - 1n } },
    { name: 'log', link: 1, fields: { type: FrameType.Log, flags: 2, payload: Buffer.from('grüße') } },
    { name: 'open', link: 0, fields: { type: FrameType.Open, payload: document } },
    {
      name: 'open part',
      link: 0xffffffff,
      fields: { type: FrameType.Open, session: 9n, flags: MORE, offset: 65_536n, payload: document },
    },
    {
      name: 'data of a relay session',
      link,
      fields: {
        type: FrameType.Data,
        stream: Stream.Stdin,
        session: GUEST_OPENED | 3n,
        offset: 4_294_967_296n,
        payload: Buffer.from([0, 255, 0x43, 0x44, 0x53, 0x31]),
      },
    },
    {
      name: 'full payload',
      link: 0,
      fields: {
        type: FrameType.Data,
        stream: Stream.Stdout,
        session: 1n,
        payload: Buffer.alloc(65_536, 0xa5),
      },
    },
    { name: 'eof', link, fields: { type: FrameType.Eof, stream: Stream.Stderr, session: 1n, offset: 77n } },
    {
      name: 'attach',
      link,
      fields: { type: FrameType.Attach, session: 7n, payload: u64s([0, 10, 2n ** 33n]) },
    },
    { name: 'signal', link: 0, fields: { type: FrameType.Signal, session: 7n, flags: 1, offset: 15n } },
    { name: 'exit', link, fields: { type: exit.type, session: 7n, payload: exit.pieces[0] as Buffer } },
    { name: 'lease', link, fields: { type: FrameType.Lease, offset: 30_000n } },
    { name: 'pause', link, fields: { type: FrameType.Pause, session: 11n, flags: 7 } },
    { name: 'thaw', link, fields: { type: FrameType.Pause, session: 12n } },
    { name: 'wake', link, fields: { type: FrameType.Wake, session: 13n, payload: wake } },
    { name: 'pressure of a frozen job', link, fields: { type: FrameType.Pressure, payload: pressure } },
    { name: 'opened, resumes', link: 0, fields: { type: FrameType.Opened, session: 7n, flags: 2 } },
    { name: 'resume', link: 0, fields: fieldsOf(resume) },
    { name: 'moved', link: 0, fields: fieldsOf(askMoved(7n)) },
    { name: 'moved, answered', link: 0, fields: fieldsOf(moved) },
    { name: 'lost', link: 0, fields: { type: FrameType.Lost, session: 7n } },
  ];
  return all.map((entry) => {
    const frame = frameOf(entry.fields);
    return {
      name: entry.name,
      hex: Buffer.concat(encodeFrame(frame, entry.link)).toString('hex'),
      type: frame.type,
      stream: frame.stream,
      flags: frame.flags,
      link: entry.link,
      session: String(frame.session),
      offset: String(frame.offset),
      payload: (entry.fields.payload ?? Buffer.alloc(0)).toString('hex'),
    };
  });
}

function fieldsOf(frame: Frame): FrameFields {
  const { type, session, flags, offset } = frame;
  return { type, session, flags, offset, payload: payloadOf(frame) };
}
