import type { HookCall, Rlimit, StdioDescriptor, TerminalSize } from '../../model/job.ts';
import { readNumber, readText, readTlv, readU64s } from './tlv.ts';
import { ProtocolError, Tag } from './types.ts';

/** What an OPEN document says: a hook's call, or (verb empty, parent set) a command that was called inside the guest. */
export interface OpenDocument extends HookCall {
  readonly parent: bigint | undefined;
}

const MAX_ID = 2 ** 32 - 1;
const MAX_PATH_BYTES = 4096;
/** Entries of a kind: argv and environment are bounded by the document's size; these by what Linux has. */
const MAX_GROUPS = 65_536;
const MAX_CPUS = 8192;
const MAX_RLIMITS = 64;

/** Parses an OPEN document of caddis-hook or of a relay stub. Throws ProtocolError naming the field. */
export function parseOpen(document: Buffer): OpenDocument {
  const args: string[] = [];
  // No prototype: a variable may be called `__proto__`.
  const env: Record<string, string> = Object.create(null) as Record<string, string>;
  const groups: number[] = [];
  const rlimits: Rlimit[] = [];
  const cpus: number[] = [];
  const stdio: StdioDescriptor[] = [];
  let verb = '';
  let cwd = '/';
  let uid: number | undefined;
  let gid: number | undefined;
  let umask = 0o22;
  let pid = 0;
  let nice = 0;
  let terminal: TerminalSize | undefined;
  let termios: Buffer | undefined;
  let session: bigint | undefined;
  let parent: bigint | undefined;
  for (const { tag, value } of readTlv(document)) {
    switch (tag) {
      case Tag.Verb:
        verb = readText(value, 'VERB', 64);
        break;
      case Tag.Arg:
        args.push(readText(value, 'ARG'));
        break;
      case Tag.Env:
        putEnv(env, readText(value, 'ENV'));
        break;
      case Tag.Cwd:
        cwd = readText(value, 'CWD', MAX_PATH_BYTES);
        break;
      case Tag.Uid:
        uid = readNumber(value, 'UID', MAX_ID);
        break;
      case Tag.Gid:
        gid = readNumber(value, 'GID', MAX_ID);
        break;
      case Tag.Group:
        bounded(groups, MAX_GROUPS, 'GROUP').push(readNumber(value, 'GROUP', MAX_ID));
        break;
      case Tag.Umask:
        umask = readNumber(value, 'UMASK', 0o777);
        break;
      case Tag.Rlimit: {
        const [resource, soft, hard] = readU64s(value, 3, 'RLIMIT') as [bigint, bigint, bigint];
        if (resource > 63n) throw new ProtocolError(`RLIMIT: resource ${resource} is above 63`);
        bounded(rlimits, MAX_RLIMITS, 'RLIMIT').push({ resource: Number(resource), soft, hard });
        break;
      }
      case Tag.Cpu:
        bounded(cpus, MAX_CPUS, 'CPU').push(readNumber(value, 'CPU', MAX_CPUS));
        break;
      case Tag.Tty:
        terminal = readTerminal(value);
        break;
      case Tag.Termios:
        if (value.length > 256) throw new ProtocolError(`TERMIOS: ${value.length} bytes, at most 256`);
        termios = Buffer.from(value);
        break;
      case Tag.Stdio: {
        const [fd, mode, device, inode] = readU64s(value, 4, 'STDIO') as [bigint, bigint, bigint, bigint];
        if (fd <= 2n) bounded(stdio, 3, 'STDIO').push({ fd: Number(fd), mode, device, inode });
        break;
      }
      case Tag.Pid:
        pid = readNumber(value, 'PID', 2 ** 22);
        break;
      case Tag.Session:
        session = readU64s(value, 1, 'SESSION')[0];
        break;
      case Tag.Parent:
        parent = readU64s(value, 1, 'PARENT')[0];
        break;
      case Tag.Nice: {
        const value64 = BigInt.asIntN(64, readU64s(value, 1, 'NICE')[0] as bigint);
        if (value64 < -20n || value64 > 19n) throw new ProtocolError(`NICE: ${value64} is not in -20..19`);
        nice = Number(value64);
        break;
      }
    }
  }
  if (uid === undefined || gid === undefined) throw new ProtocolError('OPEN document without UID or GID');
  const who = { uid, gid, groups, umask, rlimits, cpus, pid, nice };
  return { verb, args, env, cwd, ...who, stdio, terminal, termios, session, parent };
}

function putEnv(env: Record<string, string>, entry: string): void {
  const equals = entry.indexOf('=');
  // `environ` may hold anything; what has no name cannot be looked up and natively is of no use either.
  if (equals > 0 && !(entry.slice(0, equals) in env)) env[entry.slice(0, equals)] = entry.slice(equals + 1);
}

function readTerminal(value: Buffer): TerminalSize {
  if (value.length !== 8) throw new ProtocolError(`TTY: expected 8 bytes, got ${value.length}`);
  const [rows, columns, xPixels, yPixels] = [0, 2, 4, 6].map((at) => value.readUInt16LE(at)) as [
    number,
    number,
    number,
    number,
  ];
  return { rows, columns, xPixels, yPixels };
}

function bounded<T>(list: T[], most: number, what: string): T[] {
  if (list.length >= most) throw new ProtocolError(`${what}: more than ${most} entries`);
  return list;
}
