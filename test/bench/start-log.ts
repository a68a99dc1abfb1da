/** How one machine started, from caddisd's log. Times of day in milliseconds since the epoch. */
export interface MachineStart {
  /** The prolog was about to be answered. */
  readonly readyAt: number;
  /** The first step asked for its session. */
  readonly stepAt: number;
  /** prepare, define, boot, ask, plug, setup, grow: in order. */
  readonly partsMs: Readonly<Record<string, number>>;
}

const LINE = /^(\S+) (?:debug|info|warn|error) \[(\S+) \S+\] (.*)$/gm;

/** The complete starts in a piece of the log, by job key. A job that was requeued counts with its last. */
export function startsIn(log: string): Map<string, MachineStart> {
  const ready = new Map<string, Omit<MachineStart, 'stepAt'>>();
  const starts = new Map<string, MachineStart>();
  for (const [, when = '', key = '', text = ''] of log.matchAll(LINE)) {
    const parts = /^machine ready in \d+ ms (\{.*\})$/.exec(text)?.[1];
    if (parts) {
      ready.set(key, { readyAt: Date.parse(when), partsMs: JSON.parse(parts) as Record<string, number> });
      starts.delete(key);
    }
    const machine = ready.get(key);
    if (machine && text.includes('(step-opened)') && !starts.has(key))
      starts.set(key, { ...machine, stepAt: Date.parse(when) });
  }
  return starts;
}
