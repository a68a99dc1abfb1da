import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { encodeFrame, type Frame, payloadOf } from '../../../src/guest/protocol/frame.ts';
import { helloFrame, type PortNumber } from '../../../src/guest/protocol/hello.ts';
import { FrameParser } from '../../../src/guest/protocol/parser.ts';

/** Stands in for QEMU and the guest's agent: two sockets, answers HELLO, shows what came. */
export class FakeGuest {
  readonly frames: Frame[] = [];
  generation = 0;
  hellos = 0;
  connections = 0;
  /** Of them, those that are not closed. */
  open = 0;
  /** Sent in front of the echo. */
  garbage = Buffer.alloc(0);
  /** HELLOs of each port to leave unanswered. */
  deaf = 0;
  dir = '';
  readonly #servers: Server[] = [];
  readonly #sockets: Partial<Record<PortNumber, Socket>> = {};

  static async start(): Promise<FakeGuest> {
    const guest = new FakeGuest();
    guest.dir = await mkdtemp(join(tmpdir(), 'caddis-fake-'));
    for (const [number, name] of [
      [0, 'ctl'],
      [1, 'bulk'],
    ] as const) {
      const server = createServer((socket) => guest.#accept(number, socket));
      await new Promise<void>((resolve) => server.listen(join(guest.dir, name), resolve));
      guest.#servers.push(server);
    }
    return guest;
  }

  get paths(): { controlPath: string; bulkPath: string } {
    return { controlPath: join(this.dir, 'ctl'), bulkPath: join(this.dir, 'bulk') };
  }

  send(port: PortNumber, frame: Frame, link = this.generation): void {
    for (const buffer of encodeFrame(frame, link)) this.#sockets[port]?.write(buffer);
  }

  raw(port: PortNumber, bytes: Buffer): void {
    this.#sockets[port]?.write(bytes);
  }

  drop(port: PortNumber): void {
    this.#sockets[port]?.destroy();
  }

  async stop(): Promise<void> {
    for (const socket of Object.values(this.#sockets)) socket.destroy();
    for (const server of this.#servers) server.close();
    await rm(this.dir, { recursive: true, force: true });
  }

  #accept(number: PortNumber, socket: Socket): void {
    this.open += 1;
    socket.once('close', () => {
      this.open -= 1;
    });
    this.#sockets[number] = socket;
    this.connections += 1;
    let deaf = this.deaf;
    let parser: FrameParser | undefined;
    let held = Buffer.alloc(0);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      // Until a HELLO was answered: hunt for its magic and type, as the real agent does.
      while (!parser) {
        const at = held.indexOf(Buffer.from('4344533101', 'hex'));
        if (at < 0 || held.length < at + 60) return;
        const hello = held.subarray(at, at + 60);
        held = held.subarray(at + 60);
        this.hellos += 1;
        if (deaf > 0) {
          deaf -= 1;
          continue;
        }
        this.generation = hello.readUInt32LE(12);
        parser = new FrameParser(this.generation);
        socket.write(this.garbage);
        socket.write(helloFrame(number, this.generation, hello.subarray(32, 48)));
      }
      parser.push(held);
      held = Buffer.alloc(0);
      for (let frame = parser.next(); frame; frame = parser.next()) {
        payloadOf(frame);
        this.frames.push(frame);
      }
    });
  }
}
