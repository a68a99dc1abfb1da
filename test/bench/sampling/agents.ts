import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';

import { encodeFrame, frameOf, payloadOf } from '../../../src/guest/protocol/frame.ts';
import { helloFrame, type PortNumber } from '../../../src/guest/protocol/hello.ts';
import { FrameParser } from '../../../src/guest/protocol/parser.ts';
import { TlvWriter } from '../../../src/guest/protocol/tlv.ts';
import { FrameType, Tag } from '../../../src/guest/protocol/types.ts';

const EVERY_MS = 1_000;
const HELLO = Buffer.from('4344533101', 'hex');
const HELLO_BYTES = 60;

/** So many agents at `<dir>/<i>.ctl` and `.bulk` that report as caddis-init does, once a second each. Returns what ends them. */
export async function startAgents(dir: string, count: number): Promise<() => void> {
  const all = await Promise.all(
    Array.from({ length: count }, async (_, i) => [
      await listen(join(dir, `${i}.ctl`), 0),
      await listen(join(dir, `${i}.bulk`), 1),
    ]),
  );
  return () => {
    for (const { server, sockets } of all.flat()) {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  };
}

async function listen(path: string, port: PortNumber): Promise<{ server: Server; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    serve(socket, port);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return { server, sockets };
}

function serve(socket: Socket, port: PortNumber): void {
  let parser: FrameParser | undefined;
  let held = Buffer.alloc(0);
  let link = 0;
  let timer: NodeJS.Timeout | undefined;
  socket.on('error', () => undefined);
  socket.on('close', () => clearInterval(timer));
  socket.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    if (!parser) {
      const at = held.indexOf(HELLO);
      if (at < 0 || held.length < at + HELLO_BYTES) return;
      const hello = held.subarray(at, at + HELLO_BYTES);
      held = held.subarray(at + HELLO_BYTES);
      link = hello.readUInt32LE(12);
      parser = new FrameParser(link);
      socket.write(helloFrame(port, link, hello.subarray(32, 48)));
      if (port === 0) timer = setInterval(() => report(socket, link), EVERY_MS);
    }
    parser.push(held);
    held = Buffer.alloc(0);
    for (let frame = parser.next(); frame; frame = parser.next()) {
      payloadOf(frame);
      if (frame.type !== FrameType.Ping) continue;
      const pong = frameOf({ type: FrameType.Pong, offset: frame.offset });
      for (const buffer of encodeFrame(pong, link)) socket.write(buffer);
    }
  });
}

/** Everything that src/guest/init/pressure.c says, for one step. */
function report(socket: Socket, link: number): void {
  const w = new TlvWriter().u64(Tag.MemAvailable, 900 * 2 ** 20).u64(Tag.MemTotal, 2 ** 30);
  for (const resource of ['memory', 'cpu', 'io'])
    for (const kind of ['some', 'full'])
      w.text(
        Tag.Psi,
        `${resource} ${kind} avg10=0.00 avg60=0.00 avg300=0.00 total=${Math.round(performance.now())}`,
      );
  w.text(Tag.LoadAvg, '0.10 0.05 0.01 2/80 411').u64(Tag.OomKills, 0);
  w.bytes(Tag.JobStat, numbers(1e6, 1e5, 1e8, 1e8, 9e7, 9e7));
  const payload = w.finish();
  for (const buffer of encodeFrame(frameOf({ type: FrameType.Pressure, payload }), link))
    socket.write(buffer);
}

function numbers(...values: number[]): Buffer {
  const buffer = Buffer.alloc(8 * values.length);
  for (const [i, value] of values.entries()) buffer.writeBigUInt64LE(BigInt(value), 8 * i);
  return buffer;
}
