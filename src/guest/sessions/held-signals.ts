import { type Frame, frameOf } from '../protocol/frame.ts';
import { FrameType } from '../protocol/types.ts';

/** A shim has no reason for more before somebody says what they mean. */
const MOST_PER_SESSION = 64;

/** Is a signal that reached a shim the user's, or does the scheduler suspend or requeue the job by it? `hold` keeps it until that is known. */
export type OnSignal = (session: bigint, name: string, signal: number) => 'pass' | 'hold';

/** Signals that wait for the answer to "what does the scheduler mean by them?", in the order in which they came. */
export class HeldSignals {
  readonly #bySession = new Map<bigint, Frame[]>();

  /** True: it is kept (or, above the bound, dropped), and not to be forwarded now. What follows a held one waits as well. */
  take(frame: Frame, verdict: 'pass' | 'hold'): boolean {
    const held = this.#bySession.get(frame.session);
    if (verdict === 'pass' && !held) return false;
    if (!held) this.#bySession.set(frame.session, [copy(frame)]);
    else if (held.length < MOST_PER_SESSION) held.push(copy(frame));
    return true;
  }

  /** All of them; none is held afterwards. */
  release(): Frame[] {
    const all = [...this.#bySession.values()].flat();
    this.#bySession.clear();
    return all;
  }

  forget(session: bigint): void {
    this.#bySession.delete(session);
  }
}

/** A frame that was read keeps its whole chunk alive by its pieces; a signal has no payload. */
function copy({ session, offset, flags }: Frame): Frame {
  return frameOf({ type: FrameType.Signal, session, offset, flags });
}
