import { closeSync, constants, fstatSync, openSync, readFileSync, realpathSync } from 'node:fs';
import { join, normalize, sep } from 'node:path';

import { messageOf } from '../../model/errors.ts';
import { BadHookCall } from '../scheduler.ts';
import { seconds } from './time-limit.ts';

/** What `active_jobs/<job>.<task>/config` says that the environment does not (it is written by sge_execd, before the prolog). */
export interface SpoolConfig {
  readonly handleAsBinary: boolean;
  readonly noShell: boolean;
  /** `unix_behavior`, `posix_compliant`, `script_from_stdin`. */
  readonly shellStartMode: string;
  /** Slots of this job on this host; undefined in configs that do not tell. */
  readonly hostSlots: number | undefined;
  /** Of the job's own request and its queue the lesser, for all its slots on this host; in milliseconds. */
  readonly cpuLimits: { readonly softMs: number | undefined; readonly hardMs: number | undefined };
  readonly owner: string;
  /** True for qrsh, qlogin, qsh: a person or a command waits at the other end. */
  readonly interactive: boolean;
}

/** sge_execd writes some kilobytes. */
const CONFIG_MAX_BYTES = 1024 * 1024;

/**
 * Reads the spool file of a hook call. `within`: where it must lie when its name comes from the job's user, who could have caddisd wait at a dead file system. Throws BadHookCall
 * naming the file.
 */
export function readSpoolConfig(spoolDir: string, within?: readonly string[]): SpoolConfig {
  const path = join(spoolDir, 'config');
  try {
    if (within && !within.flatMap(namesOf).some((dir) => normalize(path).startsWith(dir + sep)))
      throw new Error(`it is not below ${within.join(' or ')} (gridengine.spool_dir in caddis.toml)`);
    return parseSpoolConfig(readSmall(path));
  } catch (error) {
    throw new BadHookCall(`expected sge_execd's job config at ${path}: ${messageOf(error)}`);
  }
}

/** A directory as it is called, and as it is called really. */
function namesOf(dir: string): string[] {
  try {
    return [dir, realpathSync(dir)];
  } catch {
    return [dir];
  }
}

/** caddisd stands still meanwhile: neither a fifo nor a file without end may hold it. */
function readSmall(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new Error('it is no regular file');
    if (stat.size > CONFIG_MAX_BYTES) throw new Error(`it has ${stat.size} bytes`);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/** Parses the `name=value` lines; the first of a name counts, as in the shepherd. */
export function parseSpoolConfig(text: string): SpoolConfig {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0 && !values.has(line.slice(0, at))) values.set(line.slice(0, at), line.slice(at + 1));
  }
  const slots = Number(values.get('host_slots'));
  return {
    handleAsBinary: values.get('handle_as_binary') === '1',
    noShell: values.get('no_shell') === '1',
    shellStartMode: values.get('shell_start_mode') ?? 'posix_compliant',
    hostSlots: Number.isInteger(slots) && slots > 0 ? slots : undefined,
    cpuLimits: { softMs: cpuLimitMs(values, 's_cpu'), hardMs: cpuLimitMs(values, 'h_cpu') },
    owner: values.get('job_owner') ?? '',
    interactive:
      values.has('qrsh_control_port') || /^(QRSH|QLOGIN|INTERACTIVE)$/.test(values.get('script_file') ?? ''),
  };
}

/** sge_shepherd multiplies it by the slots unless the complex is a consumable of the whole job (setrlimits.c). */
function cpuLimitMs(values: ReadonlyMap<string, string>, name: string): number | undefined {
  const limit = seconds(values.get(name) ?? '');
  if (limit === undefined) return undefined;
  const slots = Number(values.get('host_slots'));
  const times = values.get(`${name}_is_consumable_job`) === '1' || !(slots > 1) ? 1 : slots;
  return limit * 1000 * times;
}
