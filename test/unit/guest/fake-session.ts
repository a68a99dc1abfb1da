import { EventEmitter } from 'node:events';

import type { GuestLinkEvents, SessionLink } from '../../../src/guest/link.ts';
import { type Frame, type FrameFields, frameOf } from '../../../src/guest/protocol/frame.ts';
import type { StartDocument } from '../../../src/guest/protocol/start-document.ts';
import type { SessionPeer } from '../../../src/guest/sessions/peer.ts';

/** A link whose other end is the test. */
export class FakeLink extends EventEmitter<GuestLinkEvents> implements SessionLink {
  isUp = true;
  congested = false;
  sent: Frame[] = [];
  resets: string[] = [];
  #pings: { resolve: (ms: number) => void; reject: (error: Error) => void }[] = [];

  send(frame: Frame): boolean {
    if (this.isUp) this.sent.push(frame);
    return !this.congested;
  }

  ping(): Promise<number> {
    return new Promise((resolve, reject) => this.#pings.push({ resolve, reject }));
  }

  /** The guest has taken all that was sent so far, or before the `most`th question. */
  fence(most = this.#pings.length): void {
    for (const { resolve } of this.#pings.splice(0, most)) resolve(0);
  }

  reset(reason: string): void {
    this.resets.push(reason);
    this.down();
  }

  down(): void {
    this.isUp = false;
    for (const { reject } of this.#pings.splice(0)) reject(new Error('the link broke'));
    this.emit('down', 'test');
  }

  up(): void {
    this.isUp = true;
    this.sent = [];
    this.emit('up', 1);
  }

  from(fields: FrameFields): void {
    this.emit('frame', frameOf(fields));
  }

  get types(): number[] {
    return this.sent.map((frame) => frame.type);
  }
}

/** A shim whose other end is the test. */
export class FakePeer implements SessionPeer {
  pid = 42;
  got: Frame[] = [];
  paused = false;
  closedBy = '';
  #handlers: { frame: (frame: Frame) => void; closed: () => void } | undefined;

  send(frame: Frame): void {
    this.got.push(frame);
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  close(reason: string): void {
    this.closedBy = reason;
  }
  attach(handlers: { frame: (frame: Frame) => void; closed: () => void }): void {
    this.#handlers = handlers;
  }
  says(fields: FrameFields): void {
    this.#handlers?.frame(frameOf(fields));
  }
  leaves(): void {
    this.#handlers?.closed();
  }
  get types(): number[] {
    return this.got.map((frame) => frame.type);
  }
}

export const START: StartDocument = {
  ...{ argv: ['true'], program: undefined, pathSearch: false, env: {}, cwd: '/', uid: 1, gid: 1, groups: [] },
  ...{
    umask: 0,
    rlimits: [],
    cpus: [],
    nice: 0,
    terminal: undefined,
    termios: undefined,
    mergeStderr: false,
  },
  ...{ stdinNull: false, files: [], memoryLimit: undefined },
};
