/** Numbers of the Caddis protocol: docs/protocol.md. The C side has the same in src/guest/wire/frame.h. */

export const MAGIC = 0x31534443;
export const TRAILER_KEY = 0x454e4421;
export const HEADER_BYTES = 32;
export const TRAILER_BYTES = 4;
export const PAYLOAD_MAX_BYTES = 65_536;
export const DOCUMENT_MAX_BYTES = 8 * 1024 * 1024;
/** Unacknowledged bytes that a producer may have in flight per stream. */
export const WINDOW_BYTES = 262_144;
export const PROTOCOL_VERSION = 1;
/** Flag of a document that goes on in the next frame of this type and session. */
export const MORE = 0x8000;
/** Set in ids of sessions that the guest opened (relayed commands). */
export const GUEST_OPENED = 1n << 63n;

export const FrameType = {
  Hello: 1,
  Setup: 2,
  SetupDone: 3,
  Pressure: 4,
  Log: 5,
  Ping: 6,
  Pong: 7,
  PowerOff: 8,
  Clock: 9,
  Resize: 10,
  Lease: 11,
  Pause: 12,
  Wake: 13,
  Note: 14,
  Open: 16,
  Opened: 17,
  Attach: 18,
  Attached: 19,
  Data: 20,
  Eof: 21,
  Ack: 22,
  Signal: 23,
  WinSize: 24,
  Exit: 25,
  ExitAck: 26,
  Detach: 27,
  Lost: 28,
  Moved: 29,
  Resume: 30,
} as const;

export const Stream = { Stdin: 0, Stdout: 1, Stderr: 2, None: 255 } as const;
export const ExitKind = { Exited: 0, Signalled: 1, NotStarted: 2, Lost: 3 } as const;
/** Flags of PAUSE; none of them: thaw. */
export const PauseFlag = { Freeze: 1, Sync: 2, Drop: 4 } as const;
/** Flags of OPENED. */
export const OpenedFlag = { Merged: 1, Resumes: 2 } as const;
/** Flags of MOVED to a stdio side: its answer is kept for good. */
export const MovedFlag = { End: 1 } as const;
export const SignalScope = { Session: 0, Main: 1, Foreground: 2 } as const;
export const LogLevels = ['error', 'warn', 'info', 'debug'] as const;
export const AttachedState = { Unknown: 0, Running: 1, Exited: 2 } as const;

export const Tag = {
  Verb: 1,
  Arg: 2,
  Env: 3,
  Cwd: 4,
  Uid: 5,
  Gid: 6,
  Group: 7,
  Umask: 8,
  Rlimit: 9,
  Cpu: 10,
  Tty: 11,
  Stdio: 12,
  Merge: 13,
  StdinNull: 14,
  File: 15,
  Program: 16,
  PathSearch: 17,
  Pid: 18,
  Session: 19,
  Parent: 20,
  Termios: 21,
  Nice: 22,
  Note: 23,
  CwdElse: 24,
  Kept: 25,
  Hostname: 40,
  ClockNs: 41,
  Scratch: 42,
  Net: 43,
  Mount: 44,
  Passwd: 45,
  GroupLine: 46,
  Cpus: 47,
  Memory: 48,
  Dir: 49,
  SetupFile: 50,
  NfsId: 51,
  Seed: 52,
  Stub: 53,
  Hosts: 54,
  Bind: 55,
  JobMemory: 56,
  JobMark: 57,
  Message: 60,
  Timing: 61,
  MemAvailable: 62,
  MemTotal: 63,
  Psi: 64,
  LoadAvg: 65,
  SessionStat: 66,
  OomKills: 67,
  Frozen: 68,
  JobStat: 69,
  JobUse: 70,
} as const;

/** The peer sent something that docs/protocol.md does not allow. The message says what was expected and what came. */
export class ProtocolError extends Error {
  override name = 'ProtocolError';
}
