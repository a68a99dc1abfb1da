import { type CarriedFile, fileHead } from './start-document.ts';
import { readNumber, readText, readTlv, readU64s, TlvWriter } from './tlv.ts';
import { ProtocolError, Tag } from './types.ts';

/** What makes a booted guest the machine of its job. */
export interface SetupDocument {
  readonly hostname: string;
  /** Nanoseconds since the epoch. */
  readonly clockNs: bigint;
  /** Serial of the scratch disk; undefined: the overlay lives in memory. */
  readonly scratchSerial: string | undefined;
  /** `mac=.. address=A.B.C.D/len gateway=.. mtu=.. dns=..` for the machine's one NIC. */
  readonly net: string | undefined;
  /** Kernel mounts: type, source, target, options as mount(2) takes them. */
  readonly mounts: readonly {
    readonly type: string;
    readonly source: string;
    readonly target: string;
    readonly options: string;
  }[];
  /** passwd(5) and group(5) lines to add. */
  readonly passwd: readonly string[];
  readonly groupLines: readonly string[];
  readonly cpus: number;
  /** MemTotal to wait for; 0: do not wait. */
  readonly memoryBytes: number;
  readonly directories: readonly {
    readonly path: string;
    readonly mode: number;
    readonly uid: number;
    readonly gid: number;
  }[];
  readonly files: readonly CarriedFile[];
  /** nfs4_unique_id of this machine. */
  readonly nfsId: string | undefined;
  /** 32 bytes for the guest's random number generator. */
  readonly seed: Buffer;
  /** Paths in the guest that become the relay stub. */
  readonly stubs: readonly string[];
  /** Text for /etc/hosts. */
  readonly hosts: string | undefined;
  /** Bind mounts inside the guest. */
  readonly binds: readonly { readonly source: string; readonly target: string }[];
}

/** What plugged devices should have become. */
export interface ResizeDocument {
  /** vCPUs to have online. */
  readonly cpus: number;
  /** MemTotal to wait for; 0 = do not wait. */
  readonly memoryBytes: number;
  /** Hard limit of all sessions together; 0 = leave as it is. */
  readonly jobMemoryBytes: number;
  /** Beyond this what allocates is slowed down until the host has answered: memory.high. Undefined: as it is. */
  readonly jobMarkBytes?: number | 'none' | undefined;
}

/** What a machine that was restored must be told before its job goes on. */
export interface WakeDocument {
  /** Nanoseconds since the epoch. */
  readonly clockNs: bigint;
  /** 32 bytes for the random number generator: another machine may have been restored from the same image. */
  readonly seed: Buffer;
  /** Stands for what SETUP wrote into /etc/hosts; undefined: that stays. */
  readonly hosts: string | undefined;
}

/** The guest's answer to SETUP, RESIZE, PAUSE or WAKE. */
export interface SetupResult {
  readonly message: string;
  readonly timingsMs: Readonly<Record<string, number>>;
  readonly memAvailableBytes: number | undefined;
  readonly memTotalBytes: number | undefined;
}

/** How a job stands to its limits. Undefined limits: none. */
interface JobWalls {
  /** What the kernel cannot take back from it. */
  readonly heldBytes: number;
  readonly wallBytes: number | undefined;
  readonly markBytes: number | undefined;
}

/** The guest's report: once a second, and at once when the job passes its mark. */
export interface GuestPressure {
  readonly memAvailableBytes: number | undefined;
  readonly memTotalBytes: number | undefined;
  /** Lines of /proc/pressure, e.g. `memory some avg10=0.00 ...`. */
  readonly psi: readonly string[];
  readonly loadAverage: string | undefined;
  readonly oomKills: number;
  /** Of all sessions together; undefined: an older agent. */
  readonly walls: JobWalls | undefined;
  /** Why the job's processes stand still: the lease ran out, the host asked for it, or both. */
  readonly frozen: { readonly byLease: boolean; readonly byPause: boolean };
  readonly sessions: readonly {
    readonly session: bigint;
    readonly cpuMicroseconds: bigint;
    readonly memoryBytes: bigint;
    readonly memoryPeakBytes: bigint;
  }[];
  /** All steps together, also those that have ended; undefined: an agent that does not tell. */
  readonly job: GuestJobUsage | undefined;
}

/** Since the machine was made, on whatever node. */
export interface GuestJobUsage {
  readonly userMicroseconds: number;
  readonly systemMicroseconds: number;
  /** Page cache and all. */
  readonly memoryBytes: number;
  readonly memoryPeakBytes: number;
  /** Without what the kernel would give back. */
  readonly heldBytes: number;
  readonly heldPeakBytes: number;
}

/** No limit, in a number of 64 bits. */
const NONE = 2n ** 64n - 1n;
const MAX_TEXT_BYTES = 4096;
/** More entries of a kind than a guest has reason to send. */
const MAX_ENTRIES = 1024;

/** Throws RangeError when the document is above 8 MiB. */
export function encodeSetup(setup: SetupDocument): Buffer {
  const w = new TlvWriter();
  w.text(Tag.Hostname, setup.hostname).u64(Tag.ClockNs, setup.clockNs).bytes(Tag.Seed, setup.seed);
  if (setup.scratchSerial !== undefined) w.text(Tag.Scratch, setup.scratchSerial);
  if (setup.nfsId !== undefined) w.text(Tag.NfsId, setup.nfsId);
  if (setup.net !== undefined) w.text(Tag.Net, setup.net);
  for (const m of setup.mounts) w.text(Tag.Mount, [m.type, m.source, m.target, m.options].join('\t'));
  for (const line of setup.passwd) w.text(Tag.Passwd, line);
  for (const line of setup.groupLines) w.text(Tag.GroupLine, line);
  w.u64(Tag.Cpus, setup.cpus).u64(Tag.Memory, setup.memoryBytes);
  for (const dir of setup.directories) {
    const head = Buffer.alloc(12);
    for (const [i, value] of [dir.mode, dir.uid, dir.gid].entries()) head.writeUInt32LE(value, 4 * i);
    w.bytes(Tag.Dir, head, Buffer.from(dir.path, 'utf8'));
  }
  for (const file of setup.files) w.bytes(Tag.SetupFile, fileHead(file), file.content);
  for (const stub of setup.stubs) w.text(Tag.Stub, stub);
  if (setup.hosts !== undefined) w.text(Tag.Hosts, setup.hosts);
  for (const bind of setup.binds) w.text(Tag.Bind, `${bind.source}\t${bind.target}`);
  return w.finish();
}

export function encodeResize(resize: ResizeDocument): Buffer {
  const w = new TlvWriter()
    .u64(Tag.Cpus, resize.cpus)
    .u64(Tag.Memory, resize.memoryBytes)
    .u64(Tag.JobMemory, resize.jobMemoryBytes);
  const mark = resize.jobMarkBytes;
  if (mark !== undefined) w.u64(Tag.JobMark, mark === 'none' ? NONE : mark);
  return w.finish();
}

export function encodeWake(wake: WakeDocument): Buffer {
  const w = new TlvWriter().u64(Tag.ClockNs, wake.clockNs).bytes(Tag.Seed, wake.seed);
  if (wake.hosts !== undefined) w.text(Tag.Hosts, wake.hosts);
  return w.finish();
}

/** Parses SETUP_DONE. Throws ProtocolError. */
export function parseSetupResult(document: Buffer): SetupResult {
  const timingsMs: Record<string, number> = Object.create(null) as Record<string, number>;
  let message = '';
  let memAvailableBytes: number | undefined;
  let memTotalBytes: number | undefined;
  let entries = 0;
  for (const { tag, value } of readTlv(document)) {
    count(++entries);
    if (tag === Tag.Message) message = readText(value, 'MESSAGE', MAX_TEXT_BYTES);
    else if (tag === Tag.Timing) {
      const [name, ms] = readText(value, 'TIMING', 256).split('=');
      if (name && Number.isFinite(Number(ms))) timingsMs[name] = Number(ms);
    } else if (tag === Tag.MemAvailable) memAvailableBytes = readNumber(value, 'MEM_AVAILABLE');
    else if (tag === Tag.MemTotal) memTotalBytes = readNumber(value, 'MEM_TOTAL');
  }
  return { message, timingsMs, memAvailableBytes, memTotalBytes };
}

/** Parses PRESSURE. Throws ProtocolError. */
export function parsePressure(document: Buffer): GuestPressure {
  const psi: string[] = [];
  const sessions: GuestPressure['sessions'][number][] = [];
  let memAvailableBytes: number | undefined;
  let memTotalBytes: number | undefined;
  let loadAverage: string | undefined;
  let oomKills = 0;
  let frozen = 0;
  let walls: JobWalls | undefined;
  let job: GuestJobUsage | undefined;
  let entries = 0;
  for (const { tag, value } of readTlv(document)) {
    count(++entries);
    if (tag === Tag.MemAvailable) memAvailableBytes = readNumber(value, 'MEM_AVAILABLE');
    else if (tag === Tag.MemTotal) memTotalBytes = readNumber(value, 'MEM_TOTAL');
    else if (tag === Tag.JobStat) job = readJobUsage(value);
    else if (tag === Tag.Psi) psi.push(readText(value, 'PSI', 256));
    else if (tag === Tag.LoadAvg) loadAverage = readText(value, 'LOADAVG', 256).trim();
    else if (tag === Tag.OomKills) oomKills = readNumber(value, 'OOM_KILLS');
    else if (tag === Tag.JobUse) walls = jobWalls(value);
    else if (tag === Tag.Frozen) frozen = readNumber(value, 'FROZEN', 0xffff);
    else if (tag === Tag.SessionStat) {
      const [session, cpuMicroseconds, memoryBytes, memoryPeakBytes] = readU64s(value, 4, 'SESSION_STAT') as [
        bigint,
        bigint,
        bigint,
        bigint,
      ];
      sessions.push({ session, cpuMicroseconds, memoryBytes, memoryPeakBytes });
    }
  }
  return {
    ...{ memAvailableBytes, memTotalBytes, psi, loadAverage, oomKills, sessions, job, walls },
    frozen: { byLease: (frozen & 1) !== 0, byPause: (frozen & 2) !== 0 },
  };
}

function jobWalls(value: Buffer): JobWalls {
  const [held, wall, mark] = readU64s(value, 3, 'JOB_USE') as [bigint, bigint, bigint];
  // More than the largest safe number is as good as none.
  const limit = (bytes: bigint) => (bytes > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : Number(bytes));
  return { heldBytes: limit(held) ?? 0, wallBytes: limit(wall), markBytes: limit(mark) };
}

function readJobUsage(value: Buffer): GuestJobUsage {
  const [userMicroseconds, systemMicroseconds, memoryBytes, memoryPeakBytes, heldBytes, heldPeakBytes] =
    readU64s(value, 6, 'JOB_STAT').map((number) => {
      if (number > BigInt(Number.MAX_SAFE_INTEGER))
        throw new ProtocolError(`JOB_STAT: ${number} is too large`);
      return Number(number);
    }) as [number, number, number, number, number, number];
  return { userMicroseconds, systemMicroseconds, memoryBytes, memoryPeakBytes, heldBytes, heldPeakBytes };
}

function count(entries: number): void {
  if (entries > MAX_ENTRIES) throw new ProtocolError(`guest document with more than ${MAX_ENTRIES} entries`);
}
