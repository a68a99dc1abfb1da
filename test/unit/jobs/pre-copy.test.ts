import { describe, expect, it } from 'vitest';

import { type CopyLook, type CopyStep, PreCopy } from '../../../src/jobs/pre-copy.ts';

const MB = 1e6;
const BOUNDS = { leftMs: 12, mostMs: 20_000, mostBytes: 1_000 * MB };
/** What a look takes, during which the job goes on. */
const LOOK_MS = 4;

/** A machine of which `perMs` bytes are written in a millisecond, and which writes over `dirtyPerMs`, as QEMU tells it: a pass knows what was written over when it began. */
class Machine {
  pass = 1;
  remaining: number;
  written = 0;
  nowMs = 0;
  /** Written over since the pass began. */
  dirty = 0;
  isComplete = false;
  readonly #most: number;
  readonly #perMs: number;
  readonly #dirtyPerMs: number;

  constructor(bytes: number, perMs: number, dirtyPerMs: number) {
    this.remaining = bytes;
    this.#most = bytes;
    this.#perMs = perMs;
    this.#dirtyPerMs = dirtyPerMs;
  }

  run(ms: number): void {
    for (let left = ms; left > 0 && !this.isComplete; ) {
      const now = Math.min(left, this.remaining / this.#perMs);
      this.remaining -= now * this.#perMs;
      this.written += now * this.#perMs;
      this.#pass(now);
      left -= now;
      if (this.remaining > this.#perMs / 1000) continue;
      this.remaining = this.dirty;
      this.dirty = 0;
      this.pass++;
      this.isComplete = this.remaining < this.#perMs;
    }
  }

  #pass(ms: number): void {
    this.nowMs += ms;
    this.dirty = Math.min(this.dirty + ms * this.#dirtyPerMs, this.#most);
  }

  look(ranMs: number): CopyLook {
    this.#pass(LOOK_MS);
    return {
      remainingBytes: this.remaining,
      doneBytes: this.written,
      writtenBytes: this.written,
      pass: this.pass,
      atMs: this.nowMs,
      ranMs,
    };
  }

  /** What is written while the machine stands still. */
  get leftMs(): number {
    return (this.remaining + this.dirty) / this.#perMs;
  }
}

/** `lateMs`: by how much each timer is late. */
function stopped(machine: Machine, copy: PreCopy, lateMs = 2): CopyStep & { do: 'stop' } {
  let ranMs = 0;
  for (let i = 0; i < 1000; i++) {
    expect(machine.isComplete).toBe(false);
    const step = copy.next(machine.look(ranMs));
    if (step.do === 'stop') return step;
    ranMs = step.ms + lateMs;
    machine.run(ranMs);
  }
  throw new Error('it never stops the job');
}

describe('when a job is stopped whose memory is being written', () => {
  it.each([90 * MB, 500 * MB, 8_000 * MB])(
    'an idle one of %d bytes: at the end of the first pass',
    (bytes) => {
      const machine = new Machine(bytes, 0.8 * MB, 200);
      expect(stopped(machine, new PreCopy({ ...BOUNDS, mostBytes: 3 * bytes }))).toMatchObject({
        why: undefined,
      });
      expect(machine.pass).toBe(1);
      expect(machine.leftMs).toBeLessThan(20);
    },
  );

  it('one that writes 100 MB/s: the first time after one pass, and then, when that is known, after as many as make the rest small', () => {
    const first = new Machine(200 * MB, 0.8 * MB, 0.1 * MB);
    const copy = new PreCopy(BOUNDS);
    stopped(first, copy);
    expect(first.pass).toBe(1);
    copy.ended(first.written + first.remaining + first.dirty);
    expect(copy.dirtyBytesPerSecond).toBeGreaterThan(80 * MB);

    const second = new Machine(200 * MB, 0.8 * MB, 0.1 * MB);
    stopped(second, new PreCopy(BOUNDS, copy.dirtyBytesPerSecond));
    expect(second.pass).toBeGreaterThan(1);
    expect(second.leftMs).toBeLessThan(first.leftMs / 2);
    expect(second.leftMs).toBeLessThan(20);
  });

  it('one that writes as fast as it is written: when more passes are of no use, with what is left as the pause', () => {
    const machine = new Machine(200 * MB, 0.8 * MB, 0.9 * MB);
    const step = stopped(machine, new PreCopy(BOUNDS, 900 * MB));
    expect(step.why).toMatch(/as fast as/);
    expect(step.leftMs).toBeGreaterThan(100);
    expect(machine.written).toBeLessThan(BOUNDS.mostBytes);
  });

  it('one whose memory takes longer than the bound', () => {
    const machine = new Machine(30_000 * MB, 0.8 * MB, 200);
    const step = stopped(machine, new PreCopy({ ...BOUNDS, mostBytes: 1e12 }));
    expect(step.why).toMatch(/for 20 s/);
    expect(step.leftMs).toBeGreaterThan(10_000);
  });
});
