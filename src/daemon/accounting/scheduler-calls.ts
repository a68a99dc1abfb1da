import type { CostTop } from '../../model/top.ts';

/** How often which command of a scheduler was run: what a cluster's controllers have of us. */
export class SchedulerCalls {
  readonly #calls = new Map<string, { scheduler: string; command: string; calls: number }>();

  counter(scheduler: string): (command: string) => void {
    return (command) => {
      const name = `${scheduler} ${command}`;
      const entry = this.#calls.get(name) ?? { scheduler, command, calls: 0 };
      entry.calls += 1;
      this.#calls.set(name, entry);
    };
  }

  all(): CostTop['scheduler_calls'] {
    return [...this.#calls.values()].map((entry) => ({ ...entry }));
  }
}
