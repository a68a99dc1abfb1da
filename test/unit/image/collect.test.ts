import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { Closure, LibrarySearch, ProgramNotClosed } from '../../../src/guest/image/closure.ts';
import { Collector } from '../../../src/guest/image/collect.ts';

let root: string;
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'caddis-collect-')));
});
afterEach(() => rm(root, { recursive: true, force: true }));

test('every link on the way is taken over', async () => {
  await mkdir(join(root, 'v2/bin'), { recursive: true });
  await writeFile(join(root, 'v2/bin/tool-2'), 'x', { mode: 0o755 });
  await symlink('v2', join(root, 'current'));
  await symlink('tool-2', join(root, 'v2/bin/tool'));
  const collector = new Collector();
  expect(collector.add(join(root, 'current/bin/tool'))).toBe(join(root, 'v2/bin/tool-2'));
  expect(collector.tree.get(join(root, 'current'))).toEqual({ kind: 'link', target: 'v2' });
  expect(collector.tree.get(join(root, 'v2/bin/tool'))).toEqual({ kind: 'link', target: 'tool-2' });
  expect(collector.tree.get(join(root, 'v2/bin/tool-2'))).toMatchObject({ kind: 'copy', mode: 0o755 });
});

test('links that go in a circle end', async () => {
  await symlink('b', join(root, 'a'));
  await symlink('a', join(root, 'b'));
  expect(() => new Collector().add(join(root, 'a'))).toThrow(/more than 40/);
});

test('links kept as they are do not bring what they point at', async () => {
  await mkdir(join(root, 'etc'));
  await writeFile(join(root, 'secret'), 'x');
  await symlink(join(root, 'secret'), join(root, 'etc/key'));
  const collector = new Collector();
  collector.addAll(join(root, 'etc'), () => true, 'asTheyAre');
  expect(collector.tree.has(join(root, 'etc/key'))).toBe(true);
  expect(collector.tree.has(join(root, 'secret'))).toBe(false);
});

test('a program brings its loader and libraries, a script its interpreter', async () => {
  const script = join(root, 'job.sh');
  await writeFile(script, '#!/usr/bin/env bash\n');
  await chmod(script, 0o755);
  const collector = new Collector();
  new Closure(collector, await LibrarySearch.load()).addProgram(script);
  for (const path of ['/usr/bin/env', '/usr/bin/bash', '/lib64', '/usr/lib/x86_64-linux-gnu/libc.so.6'])
    expect(collector.tree.has(path), path).toBe(true);
});

test('shims and scripts without their interpreter are refused with the reason', async () => {
  const closure = new Closure(new Collector(), new LibrarySearch(new Map()));
  await mkdir(join(root, '.pyenv/shims'), { recursive: true });
  await writeFile(join(root, '.pyenv/shims/python3'), '#!/bin/sh\n', { mode: 0o755 });
  expect(() => closure.addProgram(join(root, '.pyenv/shims/python3'))).toThrow(/is a shim/);
  await writeFile(join(root, 'odd'), '#!/no/such/thing\n', { mode: 0o755 });
  expect(() => closure.addProgram(join(root, 'odd'))).toThrow(ProgramNotClosed);
});
