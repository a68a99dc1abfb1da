import { statSync } from 'node:fs';

import type { Identity } from '../../model/identity.ts';
import type { HookCall, Rlimit, StepPlan, TerminalSize } from '../../model/job.ts';
import { TlvWriter, u64s } from './tlv.ts';
import { Tag } from './types.ts';

/** A file that must exist on the process side before the start. */
export interface CarriedFile {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly content: Buffer;
}

/** What a process side needs to start a session. */
export interface StartDocument {
  readonly argv: readonly string[];
  readonly program: string | undefined;
  /** `first`: as slurmstepd looks, see StepPlan. */
  readonly pathSearch: StepPlan['pathSearch'];
  readonly cwdElse?: StepPlan['cwdElse'];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly umask: number;
  readonly rlimits: readonly Rlimit[];
  /** vCPU numbers; empty = all. */
  readonly cpus: readonly number[];
  readonly nice: number;
  readonly terminal: TerminalSize | undefined;
  readonly termios: Buffer | undefined;
  readonly mergeStderr: boolean;
  readonly stdinNull: boolean;
  readonly files: readonly CarriedFile[];
  /** Named in the guest's out-of-memory message. */
  readonly memoryLimit: { readonly bytes: number; readonly source: string } | undefined;
}

/** Builds the OPEN document for a process side. Throws RangeError when it is above 8 MiB. */
export function encodeStart(start: StartDocument): Buffer {
  const w = new TlvWriter();
  for (const arg of start.argv) w.text(Tag.Arg, arg);
  for (const [name, value] of Object.entries(start.env)) w.text(Tag.Env, `${name}=${value}`);
  w.text(Tag.Cwd, start.cwd).u64(Tag.Uid, start.uid).u64(Tag.Gid, start.gid);
  for (const group of start.groups) w.u64(Tag.Group, group);
  w.u64(Tag.Umask, start.umask);
  for (const limit of start.rlimits) w.u64(Tag.Rlimit, limit.resource, limit.soft, limit.hard);
  for (const cpu of start.cpus) w.u64(Tag.Cpu, cpu);
  w.u64(Tag.Nice, start.nice);
  if (start.program !== undefined) w.text(Tag.Program, start.program);
  if (start.cwdElse) w.text(Tag.CwdElse, `${start.cwdElse.directory}\t${start.cwdElse.complaintPrefix}`);
  if (start.pathSearch) w.bytes(Tag.PathSearch, start.pathSearch === 'first' ? u64s([1]) : Buffer.alloc(0));
  if (start.terminal) w.bytes(Tag.Tty, encodeTerminal(start.terminal));
  if (start.terminal && start.termios) w.bytes(Tag.Termios, start.termios);
  if (start.mergeStderr) w.bytes(Tag.Merge);
  if (start.stdinNull) w.bytes(Tag.StdinNull);
  for (const file of start.files) w.bytes(Tag.File, fileHead(file), file.content);
  if (start.memoryLimit)
    w.bytes(Tag.Note, u64s([start.memoryLimit.bytes]), Buffer.from(start.memoryLimit.source, 'utf8'));
  return w.finish();
}

/**
 * A step's start from its plan, its hook call and the identity that the host's name service gives. Descriptors of the caller that are one
 * file become one stream, so that the order of stdout and stderr is kept.
 */
export function startOfStep(
  plan: StepPlan,
  call: HookCall,
  identity: Identity,
  extra: Pick<StartDocument, 'cpus' | 'files' | 'memoryLimit'>,
): StartDocument {
  const { argv, program, pathSearch, env, cwd, cwdElse } = plan;
  const { umask, rlimits, nice, terminal, termios } = call;
  const { uid, gid, groups } = identity;
  return {
    ...{
      argv,
      program,
      pathSearch,
      env,
      cwd,
      cwdElse,
      uid,
      gid,
      groups,
      umask,
      rlimits,
      nice,
      terminal,
      termios,
    },
    mergeStderr: terminal === undefined && sameFile(call, 1, 2),
    stdinNull: terminal === undefined && stdinIsNull(call),
    ...extra,
  };
}

function encodeTerminal(size: TerminalSize): Buffer {
  const out = Buffer.alloc(8);
  for (const [i, value] of [size.rows, size.columns, size.xPixels, size.yPixels].entries())
    out.writeUInt16LE(value, 2 * i);
  return out;
}

/** `u32 mode, uid, gid, pathLength, path`: the head of FILE and SETUP_FILE. */
export function fileHead(file: Omit<CarriedFile, 'content'>): Buffer {
  const path = Buffer.from(file.path, 'utf8');
  const head = Buffer.alloc(16);
  for (const [i, value] of [file.mode, file.uid, file.gid, path.length].entries())
    head.writeUInt32LE(value, 4 * i);
  return Buffer.concat([head, path]);
}

function sameFile(call: HookCall, a: number, b: number): boolean {
  const first = call.stdio.find((entry) => entry.fd === a);
  const second = call.stdio.find((entry) => entry.fd === b);
  return !!first && !!second && first.device === second.device && first.inode === second.inode;
}

function stdinIsNull(call: HookCall): boolean {
  const stdin = call.stdio.find((entry) => entry.fd === 0);
  // Closed natively reads as an error, here as the end.
  if (!stdin) return call.stdio.length > 0;
  const dev = statSync('/dev/null', { bigint: true, throwIfNoEntry: false });
  return dev !== undefined && dev.dev === stdin.device && dev.ino === stdin.inode;
}
