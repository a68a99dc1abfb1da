import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  encodePacket,
  type Packet,
  PacketReader,
  packetStatus,
  packetType,
} from '../../../src/libvirt/packets.ts';
import { program, remote } from '../../../src/libvirt/procedures.ts';
import { Encoder } from '../../../src/libvirt/xdr.ts';

/** A scripted libvirtd on a unix socket, for what a real one cannot be made to do. Opening a driver succeeds; all else is up to `onCall`. */
export interface FakeDaemon {
  readonly path: string;
  /** Calls received, the opening ones left out. */
  readonly calls: readonly Packet[];
  /** Packets of the keepalive program received. */
  readonly keepalives: readonly Packet[];
  readonly connectionCount: number;
  /** Sends raw bytes on the newest connection. */
  send(bytes: Buffer): void;
  reply(to: Packet, body?: Buffer, change?: Partial<Packet>): void;
  /** Cuts the newest connection. */
  hangUp(): void;
  close(): Promise<void>;
}

export async function startFakeDaemon(
  onCall: (packet: Packet, daemon: FakeDaemon) => void = () => {},
): Promise<FakeDaemon> {
  const directory = await mkdtemp(join(tmpdir(), 'fake-libvirtd-'));
  const path = join(directory, 'sock');
  const calls: Packet[] = [];
  const keepalives: Packet[] = [];
  const sockets: net.Socket[] = [];
  const server = net.createServer((socket) => {
    const reader = new PacketReader();
    sockets.push(socket);
    socket.on('error', () => {}); // the client hangs up in the middle of things: that is what is tested
    socket.on('data', (chunk: Buffer) => {
      for (const packet of reader.push(chunk)) take(packet);
    });
  });
  const daemon: FakeDaemon = {
    path,
    calls,
    keepalives,
    get connectionCount() {
      return sockets.length;
    },
    send: (bytes) => void sockets.at(-1)?.write(bytes),
    reply: (to, body = Buffer.alloc(0), change = {}) =>
      daemon.send(encodePacket({ ...to, type: packetType.reply, status: packetStatus.ok, body, ...change })),
    hangUp: () => void sockets.at(-1)?.destroy(),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
  const take = (packet: Packet): void => {
    if (packet.program === program.keepalive) keepalives.push(packet);
    else if (packet.procedure === remote.authList.number)
      daemon.reply(packet, new Encoder().u32(1).i32(0).finish());
    else if (packet.procedure === remote.connectOpen.number) daemon.reply(packet);
    else if (packet.procedure === remote.connectSupportsFeature.number)
      daemon.reply(packet, new Encoder().i32(1).finish());
    else if (packet.procedure === remote.connectClose.number) daemon.reply(packet);
    else {
      calls.push(packet);
      onCall(packet, daemon);
    }
  };
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return daemon;
}

/** The body of an error reply. */
export function errorBody(code: number, message: string): Buffer {
  const body = new Encoder().i32(code).i32(10).optionalString(message).i32(2);
  // domain, str1, str2, str3: absent; int1, int2; network: absent
  return body.u32(0).u32(0).u32(0).u32(0).i32(0).i32(0).u32(0).finish();
}
