/**
 * Loaded into a caddisd under test before its own code (node --require): it sees every call that changes a file of a save or restore, every call of libvirt that changes a
 * machine, and the commands that are run on the way, writes each into a trace once it was done, and acts when one of them is the point of a rule. So the product has no
 * code for being killed, and a point is a certain call of a certain job, not a moment.
 */
import child from 'node:child_process';
import fs, { appendFileSync, constants, existsSync, readFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { Socket } from 'node:net';
import { basename, join } from 'node:path';

import { DIRECTORY_VARIABLE, type Fired, files, pointOf, type Rule, type Traced } from './rules.ts';

const directory = process.env[DIRECTORY_VARIABLE] ?? '/nonexistent';
delete process.env.NODE_OPTIONS;

const HOLD_MOST_MS = 90_000;
const fired = new Set<string>();
const counts = new Map<string, number>();

/** Called after a step was done and before anybody knows; what it returns is waited for. */
function done(point: string, text: string): Promise<void> | undefined {
  const now = Date.now();
  const traced: Traced = { at: now, point, text };
  appendFileSync(join(directory, files.trace), `${JSON.stringify(traced)}\n`);
  for (const rule of rules()) {
    if (fired.has(rule.id) || rule.point !== point || !rule.needles.some((needle) => text.includes(needle)))
      continue;
    const count = (counts.get(rule.id) ?? 0) + 1;
    counts.set(rule.id, count);
    if (count !== rule.nth) continue;
    fired.add(rule.id);
    if (rule.act === 'hold') {
      say(rule);
      return held(rule.id);
    }
    if (rule.delayMs > 0) setTimeout(() => act(rule, text), rule.delayMs);
    else act(rule, text);
  }
  return undefined;
}

function rules(): Rule[] {
  try {
    return JSON.parse(readFileSync(join(directory, files.rules), 'utf8')) as Rule[];
  } catch {
    return [];
  }
}

function say({ id }: Rule): void {
  const line: Fired = { id, at: Date.now() };
  appendFileSync(join(directory, files.fired), `${JSON.stringify(line)}\n`);
}

function act(rule: Rule, text: string): void {
  say(rule);
  const pid = victim(rule, text);
  if (pid === undefined) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself: the tester sees that nothing was hit.
  }
}

function victim({ act, needles }: Rule, text: string): number | undefined {
  if (act === 'kill-caddisd') return process.pid;
  const machine = [text, ...needles].join(' ').match(/caddis-[0-9a-f]{12}/)?.[0];
  const file = {
    'kill-libvirtd': '/run/libvirt/libvirtd.pid',
    'kill-qemu': `/run/libvirt/qemu/${machine}.pid`,
  };
  if (act !== 'kill-libvirtd' && act !== 'kill-qemu') return undefined;
  const pid = existsSync(file[act]) ? Number(readFileSync(file[act], 'utf8')) : 0;
  return pid > 1 ? pid : undefined;
}

async function held(id: string): Promise<void> {
  const deadline = Date.now() + HOLD_MOST_MS;
  while (!existsSync(join(directory, `go-${id}`)) && Date.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 20));
}

type Operation = (...args: never[]) => Promise<unknown>;

/** Calls of fs.promises whose last path says what they change. */
function watchCalls(): void {
  const names = [
    'mkdir',
    'writeFile',
    'rename',
    'link',
    'unlink',
    'rmdir',
    'rm',
    'symlink',
    'chown',
    'truncate',
  ];
  const target = fs.promises as unknown as Record<string, Operation>;
  for (const name of names) {
    const original = target[name] as Operation;
    target[name] = async (...args: never[]) => {
      const result = await original.apply(fs.promises, args);
      const paths = (args as unknown[])
        .slice(0, 2)
        .filter((arg): arg is string => typeof arg === 'string' && arg.startsWith('/'));
      const point = pointOf(name, paths.at(-1) ?? '');
      if (point !== undefined) await done(point, `${paths.join(' ')} `);
      return result;
    };
  }
}

/** Files that were opened: what is written through their handles, and what is synced. */
function watchHandles(): void {
  const target = fs.promises as unknown as {
    open: (path: string, flags?: unknown, mode?: unknown) => Promise<FileHandle>;
  };
  const open = target.open;
  target.open = async (path, flags, mode) => {
    const handle = await open.call(fs.promises, path, flags, mode);
    const methods = handle as unknown as Record<string, Operation>;
    for (const [method, name] of [
      ['write', 'write'],
      ['writeFile', 'write'],
      ['sync', 'fsync'],
      ['truncate', 'truncate'],
      ['chown', 'chown'],
    ] as const) {
      const point = pointOf(name, String(path));
      const original = methods[method] as Operation;
      if (point === undefined) continue;
      methods[method] = async (...args: never[]) => {
        const result = await original.apply(handle, args);
        await done(point, `${path} `);
        return result;
      };
    }
    const created =
      typeof flags === 'number' ? (flags & constants.O_CREAT) !== 0 : /[wa]/.test(String(flags ?? 'r'));
    const point = created ? pointOf('create', String(path)) : undefined;
    if (point !== undefined) await done(point, `${path} `);
    return handle;
  };
}

/** libvirt's own numbers (src/libvirt/procedures.ts), of the calls that change a machine. */
const PROCEDURES = new Map([
  [10, 'create'],
  [28, 'resume'],
  [34, 'suspend'],
  [185, 'snapshot'],
  [233, 'restore'],
  [234, 'destroy'],
  [264, 'metadata'],
  [305, 'migrate'],
]);
const REMOTE_PROGRAM = 0x20008086;
const CALL = 0;
const REPLY = 1;

function watchLibvirt(): void {
  const write = Socket.prototype.write as (this: Socket, ...args: unknown[]) => boolean;
  const asked = new WeakMap<Socket, Map<number, { name: string; text: string }>>();
  Socket.prototype.write = function (this: Socket, ...args: unknown[]): boolean {
    const result = write.apply(this, args);
    const [packet] = args;
    if (!Buffer.isBuffer(packet) || packet.length < 28 || packet.readUInt32BE(4) !== REMOTE_PROGRAM)
      return result;
    const name = PROCEDURES.get(packet.readUInt32BE(12));
    if (name === undefined || packet.readUInt32BE(16) !== CALL) return result;
    let waiting = asked.get(this);
    if (!waiting) {
      waiting = new Map();
      asked.set(this, waiting);
      hear(this, waiting);
    }
    const text = packet.toString('latin1').match(/caddis-[0-9a-f]{12}/)?.[0] ?? '';
    waiting.set(packet.readUInt32BE(20), { name, text });
    void done(`rpc ${name} sent`, text);
    return result;
  } as typeof Socket.prototype.write;
}

/** Answers, before caddisd itself hears of them. */
function hear(socket: Socket, waiting: Map<number, { name: string; text: string }>): void {
  let pending = Buffer.alloc(0);
  socket.prependListener('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 28 && pending.length >= pending.readUInt32BE(0)) {
      const packet = pending.subarray(0, pending.readUInt32BE(0));
      pending = pending.subarray(packet.length);
      const call = packet.readUInt32BE(16) === REPLY ? waiting.get(packet.readUInt32BE(20)) : undefined;
      if (!call) continue;
      waiting.delete(packet.readUInt32BE(20));
      void done(`rpc ${call.name} done`, call.text);
    }
  });
}

/** Commands by which files of users, bridges and schedulers are changed. */
function watchCommands(): void {
  const target = child as unknown as { spawn: (...args: unknown[]) => child.ChildProcess };
  const spawn = target.spawn;
  target.spawn = (...args: unknown[]) => {
    const [file, argv] = args as [string, unknown];
    const words = [file, ...(Array.isArray(argv) ? argv.map(String) : [])];
    const process = spawn(...args);
    const point = commandOf(words);
    if (point !== undefined) process.once('exit', () => void done(point, words.join(' ')));
    return process;
  };
}

function commandOf(words: readonly string[]): string | undefined {
  const name = basename(words[0] ?? '');
  if (name === 'setpriv' && words.some((word) => word.includes('mv -n'))) return 'mv output';
  if (name === 'nft') return `nft ${words[1] ?? ''}`;
  return undefined;
}

watchCalls();
watchHandles();
watchLibvirt();
watchCommands();
