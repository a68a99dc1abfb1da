import { expect, test } from 'vitest';

import { type Frame, frameOf } from '../../../src/guest/protocol/frame.ts';
import { parseMoved } from '../../../src/guest/protocol/move-documents.ts';
import { encodeExit } from '../../../src/guest/protocol/session-payloads.ts';
import { FrameType, Stream } from '../../../src/guest/protocol/types.ts';
import { CapturePeer } from '../../../src/guest/sessions/capture.ts';

const session = 5n;
const data = (text: string, offset: bigint) =>
  frameOf({ type: FrameType.Data, stream: Stream.Stdout, session, offset, payload: Buffer.from(text) });

function captured(maxBytes: number): { peer: CapturePeer; said: Frame[] } {
  const peer = new CapturePeer(session, maxBytes);
  const said: Frame[] = [];
  peer.attach({ frame: (frame) => said.push(frame) });
  return { peer, said };
}

test('collects output, also behind its EXIT, and acknowledges it', async () => {
  const { peer, said } = captured(100);
  peer.send(data('ab', 0n));
  peer.send(encodeExit(session, { status: { kind: 'exited', code: 3 }, stdoutEnd: 4n, stderrEnd: 0n }));
  peer.send(data('ab', 0n));
  peer.send(data('cd', 2n));
  const { status, stdout } = await peer.done;
  expect(status).toEqual({ kind: 'exited', code: 3 });
  expect(stdout.toString()).toBe('abcd');
  await Promise.resolve();
  expect(said.map(({ type }) => type)).toEqual([FrameType.Ack, FrameType.Ack, FrameType.ExitAck]);
});

test('takes no more than its bound', async () => {
  const { peer } = captured(3);
  peer.send(data('abcd', 0n));
  await expect(peer.done).rejects.toThrow('more than 3 bytes');
});

test('ends with a broken link', async () => {
  const { peer } = captured(3);
  peer.send(frameOf({ type: FrameType.Lost, session }));
  await expect(peer.done).rejects.toThrow('link');
});

test('ends when the machine goes on elsewhere, and keeps nobody waiting', async () => {
  const { peer, said } = captured(100);
  peer.send(data('abcd', 0n));
  peer.send(frameOf({ type: FrameType.Moved, session }));
  await expect(peer.done).rejects.toThrow('elsewhere');
  const moved = said.find(({ type }) => type === FrameType.Moved);
  expect(parseMoved(moved as Frame)[0]).toEqual({ delivered: 4n });
});
