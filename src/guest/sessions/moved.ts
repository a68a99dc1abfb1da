import type { Frame } from '../protocol/frame.ts';
import { askMoved, endMoved, parseMoved, type StreamStand } from '../protocol/move-documents.ts';
import type { ExitStatus } from '../protocol/session-payloads.ts';
import type { StepSession } from './step.ts';

/** A step of a machine that goes on elsewhere. */
export interface MovedSession {
  readonly session: bigint;
  readonly name: string;
  /** The relayed command that started it, and which of its tasks it is, as far as `open` was told. */
  readonly relay?: bigint;
  readonly task?: number;
  /**
   * `opening`: the guest may not have it yet: it is opened again, by the same id. `exited`: the guest keeps its status. `ended`: the guest has forgotten it; it
   * stands here because the command that started it has not ended.
   */
  readonly phase: 'opening' | 'running' | 'exited' | 'ended';
  readonly exit?: ExitStatus;
  /** stdout, stderr. Without a position the shim did not say where it stands in a file: it was not there, or the stream goes to none. */
  readonly streams: readonly [StreamStand, StreamStand];
}

/** A relayed command of a machine that goes on elsewhere. */
export interface MovedRelay {
  readonly session: bigint;
  /** The step that it was called in; 0: unknown. */
  readonly parent: bigint;
  /** The OPEN document, as the guest sent it; empty: not known, so that it cannot be called again. */
  readonly call: Buffer;
  /** False: it was called, and not started yet. */
  readonly started: boolean;
  /** Bytes of stdin that the command has consumed. */
  readonly stdinAccepted: bigint;
  /** stdout, stderr: what the guest has taken, and the bytes behind that. */
  readonly streams: readonly [MovedOutput, MovedOutput];
  /** It has ended, and its caller does not know yet. */
  readonly exit?: ExitStatus;
}

export interface MovedOutput {
  readonly acknowledged: bigint;
  readonly bytes: Buffer;
}

/** All that a machine's sessions need in order to go on in another router. */
export interface MovedState {
  readonly sessions: readonly MovedSession[];
  readonly relays: readonly MovedRelay[];
  /** Sessions that are over, of which the guest may not have heard. */
  readonly forget: readonly bigint[];
}

export interface MoveOptions {
  /** The output of steps flows back through the commands that started them: so long without any of it means that all of it has arrived. Default 250. */
  readonly quietMs?: number;
  /** And so long it is waited for at most. Default 2000. */
  readonly drainMs?: number;
  /** For a shim's answer, or a command's output. A shim delivers for 2 s what it has. Default 5000. */
  readonly answerMs?: number;
  /** With which the shims end. Default 0. */
  readonly exitStatus?: number;
}

/** Asks shims to let go of their sessions, and keeps what they answer. */
export class Departure {
  readonly #answers = new Map<bigint, readonly [StreamStand, StreamStand]>();
  readonly #asked = new Set<bigint>();
  readonly #waiting = new Map<bigint, () => void>();
  readonly #exitStatus: number;
  #isKept = false;

  constructor(exitStatus: number) {
    this.#exitStatus = exitStatus;
  }

  /** Resolves when the shims of all `steps` have answered, or after `timeoutMs`. */
  async ask(steps: readonly StepSession[], timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    const answers = steps.flatMap((step) => {
      this.#asked.add(step.id);
      if (!step.peer) return [];
      const answer = new Promise<void>((resolve) => this.#waiting.set(step.id, resolve));
      step.peer.send(askMoved(step.id, this.#exitStatus));
      return [answer];
    });
    await Promise.race([Promise.all(answers), late]);
    clearTimeout(timer);
  }

  /** What they answered is kept for good: they end, and those that come back too. */
  letGo(steps: readonly StepSession[]): void {
    this.#isKept = true;
    for (const step of steps) this.#end(step);
  }

  /** A shim came back: the connection broke before it could answer, or before it heard that it may end. Those that are not asked yet will be. */
  peerBack(step: StepSession): void {
    if (this.#isKept) this.#end(step);
    else if (this.#asked.has(step.id)) step.peer?.send(askMoved(step.id, this.#exitStatus));
  }

  #end({ id, peer }: StepSession): void {
    peer?.send(endMoved(id, this.#exitStatus));
  }

  /** Throws ProtocolError. */
  answered(step: StepSession, frame: Frame): void {
    const stands = parseMoved(frame);
    // One that has not heard yet where it comes from knows nothing.
    if (!step.resuming) this.#answers.set(step.id, stands);
    this.over(step.id);
  }

  /** Nobody is waited for any more: it has answered, or its session has ended. */
  over(session: bigint): void {
    this.#waiting.get(session)?.();
    this.#waiting.delete(session);
  }

  describe(step: StepSession): MovedSession {
    const [stdout, stderr] = step.delivered;
    const streams =
      this.#answers.get(step.id) ??
      step.resuming?.streams ??
      ([{ delivered: stdout }, { delivered: stderr }] as const);
    return describe(step, step.phase, streams);
  }
}

/** A session that goes on here: as far as its shim has said. */
export function describeStanding(step: StepSession): MovedSession {
  const [stdout, stderr] = step.delivered;
  const streams = step.resuming?.streams ?? ([{ delivered: stdout }, { delivered: stderr }] as const);
  return describe(step, step.phase, streams);
}

/** A session that is over while the command that started it is not. */
export function describeEnded(step: StepSession): MovedSession {
  const [stdout, stderr] = step.delivered;
  return describe(step, 'ended', [{ delivered: stdout }, { delivered: stderr }]);
}

/** A main step whose shim has said that it has all of it. */
export function describeTaken(step: StepSession): MovedSession {
  const [stdout, stderr] = step.ends ?? step.delivered;
  return describe(step, 'ended', [{ delivered: stdout }, { delivered: stderr }]);
}

function describe(
  step: StepSession,
  phase: MovedSession['phase'],
  streams: MovedSession['streams'],
): MovedSession {
  const { id: session, name, about, exit } = step;
  return { session, name, ...about, phase, ...(exit && { exit }), streams };
}
