import type { JobKey } from '../../model/job.ts';
import { BadHookCall } from '../scheduler.ts';

/** The task that a hook's environment is about. Throws BadHookCall naming the variable. */
export function readKey(env: Readonly<Record<string, string>>): JobKey {
  const jobId = required(env, 'JOB_ID');
  if (!/^\d{1,10}$/.test(jobId)) throw new BadHookCall(`expected a number in JOB_ID, got "${jobId}"`);
  const text = required(env, 'SGE_TASK_ID');
  // "undefined" is what Grid Engine itself says for a job that is no array.
  const task = text === 'undefined' ? '1' : text;
  if (!/^\d{1,10}$/.test(task))
    throw new BadHookCall(`expected a number or "undefined" in SGE_TASK_ID, got "${text}"`);
  return { scheduler: 'gridengine', jobId, task };
}

/** A variable that every hook has. Throws BadHookCall naming it. */
export function required(env: Readonly<Record<string, string>>, name: string): string {
  const value = env[name];
  if (value === undefined || value === '')
    throw new BadHookCall(
      `expected ${name} in the environment of a Grid Engine hook; is the queue's prolog called by sge_execd?`,
    );
  return value;
}
