import type { SavedSession, SavedSessions } from './moved-sessions.ts';

type Streams = SavedSession['streams'];

/**
 * How the steps of a released machine stand when its clients are let go: what those have said then counts, what they had said when it was written out serves for those that
 * could not be asked (a caddisd that was restarted knows only the clients that came back). What has ended since is in neither.
 */
export function mergeSessions(stored: SavedSessions, moved: SavedSessions): SavedSessions {
  const forget = new Set(moved.forget);
  const before = new Map(stored.sessions.map(({ session, streams }) => [session, streams]));
  const sessions = merged(stored.sessions, moved.sessions)
    .filter(({ session }) => !forget.has(session))
    .map((one) => ({ ...one, streams: withFiles(before.get(one.session), one.streams) }));
  const relays = merged(stored.relays, moved.relays);
  return { sessions, relays, forget: [...new Set([...stored.forget, ...moved.forget])] };
}

/** A client that was killed before it could say anything leaves its files as they stood: its machine has produced nothing since. */
function withFiles(before: Streams | undefined, now: Streams): Streams {
  const known = (name: 'stdout' | 'stderr') =>
    now[name]?.file === undefined && before?.[name]?.file !== undefined ? before[name] : now[name];
  return { ...now, stdout: known('stdout'), stderr: known('stderr') };
}

function merged<One extends { readonly session: string }>(
  before: readonly One[],
  now: readonly One[],
): One[] {
  const known = new Map(before.map((one) => [one.session, one]));
  for (const one of now) known.set(one.session, { ...known.get(one.session), ...one });
  return [...known.values()];
}
