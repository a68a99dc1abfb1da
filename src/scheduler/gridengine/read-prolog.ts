import type { HookCall, JobRequest } from '../../model/job.ts';
import type { FindAccount } from './accounts.ts';
import { readKey, required } from './job-key.ts';
import { readSpoolConfig, type SpoolConfig } from './spool-config.ts';

/** Reads a prolog's environment and spool config. `trustJsv`: CADDIS_MEM and CADDIS_TMP come from our JSV, not from the user. */
export function readProlog(
  call: HookCall,
  findAccount: FindAccount,
  {
    trustJsv,
    readConfig = readSpoolConfig,
  }: { trustJsv: boolean; readConfig?: (spoolDir: string) => SpoolConfig },
): JobRequest {
  const { env } = call;
  const key = readKey(env);
  const config = readConfig(required(env, 'SGE_JOB_SPOOL_DIR'));
  const account = findAccount(config.owner === '' ? required(env, 'LOGNAME') : config.owner);
  // NSLOTS counts the slots of all hosts.
  const cpus = config.hostSlots ?? (env.NHOSTS === '1' ? positive(env.NSLOTS) : undefined);
  const memory = trustJsv ? readAmount(env.CADDIS_MEM) : undefined;
  return {
    key,
    restartCount: positive(env.RESTARTED) === undefined ? 0 : 1,
    user: account.name,
    uid: account.uid,
    gid: account.gid,
    cpus,
    // The consumable is per slot.
    memoryBytes: memory && memory.bytes * (cpus ?? 1),
    memorySource: memory && (cpus ?? 1) > 1 ? `${memory.source} x ${cpus} slots` : memory?.source,
    scratchBytes: trustJsv ? readAmount(env.CADDIS_TMP)?.bytes : undefined,
    queue: required(env, 'QUEUE'),
    vm: undefined,
    devices: trustJsv ? devicesOf(env.CADDIS_DEVICES) : undefined,
    hosts: positive(env.NHOSTS) ?? 1,
    requeueable: !config.interactive,
    cpuLimits: config.cpuLimits,
    jobName: env.JOB_NAME ?? '',
    workDir: env.SGE_CWD_PATH ?? call.cwd,
  };
}

/** `2147483648 h_vmem=2G` as hooks/gridengine/jsv/decide.ts writes it. `0 none` and anything else: nothing was asked. */
function readAmount(
  text: string | undefined,
): { readonly bytes: number; readonly source: string } | undefined {
  const match = /^(\d{1,16}) (\S.*)$/.exec(text ?? '');
  const bytes = Number(match?.[1]);
  return match && bytes > 0 && Number.isSafeInteger(bytes)
    ? { bytes, source: match[2] as string }
    : undefined;
}

/** `gpu=1,ngpus=2` as the JSV writes it, `none` without. */
function devicesOf(text: string | undefined): string | undefined {
  return text === undefined || text === '' || text === 'none' ? undefined : `-l ${text}`;
}

function positive(text: string | undefined): number | undefined {
  const value = Number(text);
  return Number.isInteger(value) && value > 0 ? value : undefined;
}
