import { expect, it } from 'vitest';

import { mergeSessions } from '../../../src/daemon/moving/merge-sessions.ts';
import type { SavedSession } from '../../../src/daemon/moving/moved-sessions.ts';

const at = (session: string, delivered: string, more: Partial<SavedSession> = {}): SavedSession => ({
  ...{ session, name: session, phase: 'running', streams: { stdout: { delivered } } },
  ...more,
});
const state = (sessions: SavedSession[], forget: string[] = []) => ({ sessions, relays: [], forget });

it('takes the word of clients that could be asked, and what was known of the others', () => {
  const stored = state([at('1', '10', { relay: '7' }), at('2', '20')]);
  const { sessions } = mergeSessions(stored, state([at('1', '15')]));
  expect(sessions).toEqual([at('1', '15', { relay: '7' }), at('2', '20')]);
});

it('leaves out what has ended since', () => {
  const merged = mergeSessions(state([at('1', '10'), at('2', '20')], ['5']), state([], ['2']));
  expect(merged.sessions.map(({ session }) => session)).toEqual(['1']);
  expect(merged.forget).toEqual(['5', '2']);
});

it('keeps the files of a client that was killed before it could say anything', () => {
  const file = { path: '/home/out', length: '10', device: '1', inode: '2' };
  const stdout = { delivered: '10', file };
  const stored = state([at('1', '10', { streams: { stdout } })]);
  const { sessions } = mergeSessions(stored, state([at('1', '0')]));
  expect(sessions[0]?.streams.stdout).toEqual(stdout);
});
