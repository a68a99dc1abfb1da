import { BadHookCall } from '../scheduler.ts';

/** Under --export=NONE (SLURM_EXPORT_ENV) srun hands on nothing but its own variables: those that begin so. */
export const STEP_VARIABLE_PREFIX = 'SLURM_';

export type Environment = Readonly<Record<string, string>>;

/** Throws BadHookCall naming the variable. */
export function required(env: Environment, name: string): string {
  const value = env[name];
  if (value === undefined || value === '')
    throw new BadHookCall(`expected ${name} in the environment of this Slurm hook, got nothing`);
  return value;
}

/** A decimal number without sign. Throws BadHookCall naming the variable and its value. */
export function requiredCount(env: Environment, name: string): number {
  return count(required(env, name), name);
}

/** Parses a decimal number without sign; `what` names it in the error. */
export function count(text: string, what: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new BadHookCall(`expected a number as ${what}, got "${text}"`);
  return value;
}

/** SLURM_JOB_ID: the raw id, of an array too. */
export function jobIdOf(env: Environment): string {
  return String(requiredCount(env, 'SLURM_JOB_ID'));
}
