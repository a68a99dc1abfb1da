import { readFile, stat } from 'node:fs/promises';

import type { Manifest } from '../../checkpoint/manifest-schema.ts';
import type { KeptOutput, StreamStand } from '../../guest/protocol/move-documents.ts';
import { Stream } from '../../guest/protocol/types.ts';
import type { MovedOutput, MovedRelay, MovedSession, MovedState } from '../../guest/sessions/moved.ts';
import { CaddisError } from '../../model/errors.ts';
import type { Job } from '../job.ts';
import type { KeptFile } from './kept-output.ts';
import { pathOf, type StepOutputs } from './step-outputs.ts';

/** What a manifest keeps of a job's steps. */
export type SavedSessions = Pick<Manifest, 'sessions' | 'relays' | 'forget'>;
export type SavedSession = SavedSessions['sessions'][number];
export type SavedStream = NonNullable<SavedSession['streams']['stdout']>;
type SavedRelay = SavedSessions['relays'][number];

/**
 * Asks the shims of a job whose machine stands still how far each has delivered its step's output, which is all that the next host needs of them. They wait for
 * `guest.letGo()`: while what they said is not on disk, the next caddisd may have to ask again.
 */
export async function askShims(job: Job): Promise<SavedSessions> {
  const { guest } = job.resources;
  if (!guest) throw new CaddisError('the job has no machine any more');
  const files = new Map<bigint, readonly (string | undefined)[]>();
  for (const { session, peerPid } of guest.sessions())
    if (peerPid !== undefined) files.set(session, await Promise.all([1, 2].map((fd) => pathOf(peerPid, fd))));
  return toSaved(withEnds(job, await guest.move(job.scheduler.movedExitStatus), files), files, job.given);
}

/** The same of a job that goes on here and stands still at this moment: where its shims stand in their files is read from their descriptors. */
export async function savedStanding(job: Job, state: MovedState): Promise<SavedSessions> {
  const files = new Map<bigint, readonly (string | undefined)[]>();
  const pids = new Map(job.resources.guest?.sessions().map(({ session, peerPid }) => [session, peerPid]));
  const ended = withEnds(job, state, files);
  const sessions = await Promise.all(
    ended.sessions.map(async (session) => {
      const pid = pids.get(session.session);
      if (pid === undefined) return session;
      files.set(session.session, await Promise.all([1, 2].map((fd) => pathOf(pid, fd))));
      const [stdout, stderr] = session.streams;
      return {
        ...session,
        streams: [await standingAt(pid, 1, stdout), await standingAt(pid, 2, stderr)] as const,
      };
    }),
  );
  return toSaved({ ...state, sessions }, files, job.given);
}

/** Adds the position in a regular file, which is that of the last byte delivered. */
async function standingAt(pid: number, fd: number, stand: StreamStand): Promise<StreamStand> {
  const path = `/proc/${pid}/fd/${fd}`;
  const file = await stat(path, { bigint: true }).catch(() => undefined);
  const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8').catch(() => '');
  const position = /^pos:\s+(\d+)$/m.exec(info)?.[1];
  if (!file?.isFile() || position === undefined) return { delivered: stand.delivered };
  return { delivered: stand.delivered, position: BigInt(position), device: file.dev, inode: file.ino };
}

/**
 * Adds where the output of main steps that are over ends. One of which that is not known, where it would be lost, is left out: its job runs once more, as it would without us.
 */
function withEnds(
  job: Job,
  state: MovedState,
  files: Map<bigint, readonly (string | undefined)[]>,
): MovedState {
  const sessions = state.sessions.flatMap((session): MovedSession[] => {
    if (session.phase !== 'ended' || session.relay !== undefined) return [session];
    const outputs = job.outputs.get(session.session);
    if (!outputs) return job.scheduler.truncatesOutput ? [] : [session];
    files.set(
      session.session,
      outputs.map((file) => file?.path),
    );
    const [stdout, stderr] = session.streams;
    return [{ ...session, streams: [endOf(stdout, outputs[0]), endOf(stderr, outputs[1])] }];
  });
  return { ...state, sessions };
}

function endOf({ delivered }: StreamStand, file: StepOutputs[number]): StreamStand {
  if (!file) return { delivered };
  const { device, inode, base } = file;
  return { delivered, position: base + delivered, device, inode };
}

function toSaved(
  { sessions, relays, forget }: MovedState,
  files: ReadonlyMap<bigint, readonly (string | undefined)[]>,
  given: Job['given'],
): SavedSessions {
  return {
    sessions: sessions.map((session) => ({
      session: `${session.session}`,
      name: session.name,
      ...(session.relay === undefined ? {} : { relay: `${session.relay}` }),
      ...(session.task === undefined ? {} : { task: session.task }),
      phase: session.phase,
      ...(session.exit ? { exit: session.exit } : {}),
      streams: {
        stdout: savedStream(session.streams[0], files.get(session.session)?.[0]),
        stderr: savedStream(session.streams[1], files.get(session.session)?.[1]),
      },
      ...(given.has(session.session) ? { given: { ...given.get(session.session) } } : {}),
    })),
    relays: relays.map((relay) => ({
      session: `${relay.session}`,
      parent: `${relay.parent}`,
      call: relay.call.toString('base64'),
      started: relay.started,
      stdinAccepted: `${relay.stdinAccepted}`,
      stdout: savedOutput(relay.streams[0]),
      stderr: savedOutput(relay.streams[1]),
      ...(relay.exit ? { exit: relay.exit } : {}),
    })),
    forget: forget.map(String),
  };
}

/** Inverse of toSaved. */
export function fromSaved({ sessions, relays, forget }: SavedSessions): MovedState {
  return {
    sessions: sessions.map(
      (saved): MovedSession => ({
        session: BigInt(saved.session),
        name: saved.name,
        ...(saved.relay === undefined ? {} : { relay: BigInt(saved.relay) }),
        ...(saved.task === undefined ? {} : { task: saved.task }),
        phase: saved.phase,
        ...(saved.exit ? { exit: saved.exit } : {}),
        streams: [standOf(saved.streams.stdout), standOf(saved.streams.stderr)],
      }),
    ),
    relays: relays.map(
      (saved): MovedRelay => ({
        session: BigInt(saved.session),
        parent: BigInt(saved.parent),
        call: Buffer.from(saved.call, 'base64'),
        started: saved.started,
        stdinAccepted: BigInt(saved.stdinAccepted),
        streams: [outputOf(saved.stdout), outputOf(saved.stderr)],
        ...(saved.exit ? { exit: saved.exit } : {}),
      }),
    ),
    forget: forget.map(BigInt),
  };
}

/** What a step's new client is told of its output: how much was delivered, and where the content of its files is meanwhile. */
export function keptOutputs(saved: SavedSession, files: readonly KeptFile[]): KeptOutput[] {
  const streams = [
    [Stream.Stdout, saved.streams.stdout],
    [Stream.Stderr, saved.streams.stderr],
  ] as const;
  return streams.flatMap(([stream, state]) => {
    if (!state) return [];
    const kept = files.find(({ path }) => path === state.file?.path);
    const file = kept && state.file ? { path: kept.kept, length: kept.length } : undefined;
    return [{ stream, delivered: BigInt(state.delivered), file }];
  });
}

function savedStream(stand: StreamStand, path: string | undefined): SavedStream {
  const { delivered, position, device, inode } = stand;
  const isFile = path !== undefined && position !== undefined && device !== undefined && inode !== undefined;
  return {
    delivered: `${delivered}`,
    ...(isFile ? { file: { path, length: `${position}`, device: `${device}`, inode: `${inode}` } } : {}),
  };
}

function standOf(saved: SavedStream | undefined): StreamStand {
  const delivered = BigInt(saved?.delivered ?? 0);
  if (!saved?.file) return { delivered };
  const { length, device, inode } = saved.file;
  return { delivered, position: BigInt(length), device: BigInt(device), inode: BigInt(inode) };
}

function savedOutput({ acknowledged, bytes }: MovedOutput): SavedRelay['stdout'] {
  return { acknowledged: `${acknowledged}`, base64: bytes.toString('base64') };
}

function outputOf(saved: SavedRelay['stdout']): MovedOutput {
  return { acknowledged: BigInt(saved.acknowledged), bytes: Buffer.from(saved.base64, 'base64') };
}
