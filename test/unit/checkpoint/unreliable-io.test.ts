import { describe, expect, it } from 'vitest';

import { fateOf } from '../../fault/store/disk.ts';
import { UnreliableIo } from '../../fault/store/unreliable-io.ts';
import { random } from '../guest/random.ts';

const text = (io: UnreliableIo, path: string) => Buffer.from(io.peek(path)).toString();

/** The states that crashes may leave, as `name=content` lists. */
function statesOf(io: UnreliableIo): Promise<Set<string>> {
  const states = Array.from({ length: 60 }, async (_, seed) => {
    const left = io.afterCrash(fateOf(random(seed)));
    const names = (await left.readdir('/')).sort();
    return names.map((name) => `${name}=${text(left, `/${name}`)}`).join(' ');
  });
  return Promise.all(states).then((all) => new Set(all));
}

describe('a crash in the file system of the tests', () => {
  it('loses, tears or keeps what was not synced', async () => {
    const io = new UnreliableIo();
    await io.create('/f', Buffer.from('old'));
    io.settle();
    const file = await io.open('/f', 'write');
    await file.write(Buffer.from('NEW'), 0);
    const states = await statesOf(io);
    for (const state of ['f=old', 'f=NEW', 'f=Nld']) expect(states).toContain(state);
    await file.sync();
    expect(await statesOf(io)).toEqual(new Set(['f=NEW']));
  });

  it('may keep a name without the content that was written before it', async () => {
    const io = new UnreliableIo();
    await io.create('/.new', Buffer.from('x'));
    await io.rename('/.new', '/f');
    await io.syncDirectory('/');
    expect(await statesOf(io)).toEqual(new Set(['f=', 'f=x']));
  });

  it('may keep a later change of names and lose an earlier one', async () => {
    const io = new UnreliableIo();
    await io.create('/a', Buffer.from(''));
    await io.create('/b', Buffer.from(''));
    io.settle();
    await io.unlink('/a');
    await io.rename('/b', '/c');
    expect(await statesOf(io)).toEqual(new Set(['a= b=', 'b=', 'a= c=', 'c=']));
  });
});
