import { CaddisError, messageOf } from '../../model/errors.ts';
import type { JobKey } from '../../model/job.ts';
import type { RunCommand } from '../run-program.ts';
import type { Placement } from '../scheduler.ts';
import { parseQstatJob } from './qstat.ts';

/** The hard queue list (`-q`), which the qmaster changes at any time and minds at the next start. A cell with a JSV must allow it: `jsv_allowed_mod`. */
export function gridEnginePlacement(host: string, run: RunCommand): Placement {
  const alter = async (key: JobKey, queues: string, signal: AbortSignal) => {
    await run(['qalter', '-q', queues, key.jobId], signal).catch((error: unknown) => {
      const hint = /jsv_allowed_mod/.test(messageOf(error))
        ? '; add q_hard to jsv_allowed_mod ("qconf -mconf")'
        : '';
      throw new CaddisError(`${messageOf(error)}${hint}`, { cause: error });
    });
  };
  const ask = async (key: JobKey, signal: AbortSignal) =>
    parseQstatJob(await run(['qstat', '-xml', '-j', key.jobId], signal), key.jobId);
  return {
    when: 'running',
    async check({ key, queue }, to, signal) {
      if (to === host) throw new CaddisError(`the job is on ${to} already`);
      if ((await ask(key, signal))?.isArray)
        throw new CaddisError(
          `${key.jobId} is an array: Grid Engine binds all of its tasks to a host, or none (leave --to away)`,
        );
      await run(['qselect', '-q', `${queue}@${to}`], signal).catch((error: unknown) => {
        throw new CaddisError(`queue ${queue} has no host "${to}": see "qselect -q ${queue}"`, {
          cause: error,
        });
      });
    },
    async current(key, signal) {
      return (await ask(key, signal))?.queues.join(',') ?? '';
    },
    bind: (key, to, before, signal) => alter(key, boundTo(to, before), signal),
    // There is no way back to none: any queue is the same.
    restore: (key, before, signal) => alter(key, before === '' ? '*' : before, signal),
  };
}

/** `all.q,x.q@n1` on n2: the same queues, there. */
function boundTo(host: string, queues: string): string {
  const names = queues === '' ? ['*'] : queues.split(',').map((one) => one.replace(/@.*/, '') || '*');
  return [...new Set(names)].map((name) => `${name}@${host}`).join(',');
}
