import { execa } from 'execa';
import { beforeAll, expect, test } from 'vitest';

import type { Lab, LabHost } from '../../lab/host.ts';
import { setUplink } from '../../lab/hosts.ts';
import { current, up } from '../../lab/lab.ts';
import { on, until } from '../../lab/process.ts';
import { shellCommand } from '../../lab/shell.ts';
import { status } from '../../lab/status.ts';

let lab: Lab;

beforeAll(async () => {
  lab = (await current()) ?? (await up());
});

function node(index: 0 | 1): LabHost {
  return lab.nodes[index] as LabHost;
}

/** As `lab sh` does it, with the output taken. */
async function sh(host: string, user: string, script: string) {
  const [file, ...args] = await shellCommand(lab, { host, user, command: ['bash', '-c', script] });
  return await execa(file as string, args, { reject: false, timeout: 30_000, stdin: 'ignore' });
}

test('every daemon runs, and a second up changes nothing', async () => {
  const before = await status();
  expect(before.state).toBe('up');
  await up();
  expect((await status()).hosts).toEqual(before.hosts);
});

test('a command runs on its host as its user, in the home, with all groups and its exit status', async () => {
  const alice = await sh('n1', 'alice', 'hostname; id -un; id -Gn; pwd; exit 7');
  expect(alice.stdout.split('\n')).toEqual(['n1', 'alice', 'alice labproj', `${lab.paths.home}/alice`]);
  expect(alice.exitCode).toBe(7);
  expect((await sh('head', 'bob', 'hostname; id -un')).stdout).toBe('head\nbob');
});

test('a home is the same on every host, and closed to others', async () => {
  await sh('n1', 'alice', 'echo from-n1 > lab-test');
  expect((await sh('n2', 'alice', 'cat lab-test; rm lab-test')).stdout).toBe('from-n1');
  expect((await sh('n2', 'bob', `ls ${lab.paths.home}/alice`)).stderr).toContain('Permission denied');
});

test('what root writes into the store belongs to the service account, other hosts see it at once, users do not', async () => {
  const file = `${lab.paths.store}/lab-test`;
  await on(node(0), ['sh', '-c', `echo one > ${file}`]);
  expect(await on(node(1), ['sh', '-c', `cat ${file}; stat -c %U ${file}`])).toBe('one\ncaddis');
  // A second value at once: a cached attribute or page would still show the first.
  await on(node(0), ['sh', '-c', `echo two-two > ${file}`]);
  expect(await on(node(1), ['cat', file])).toBe('two-two');
  await on(node(1), ['rm', file]);
  expect((await sh('n1', 'alice', `ls ${lab.paths.store}`)).stderr).toContain('Permission denied');
});

test('a cut of the network cuts the store, and it comes back with the network', async () => {
  const list = () => on(node(0), ['ls', lab.paths.store], { timeoutMs: 30_000 });
  await setUplink(lab.head, node(0), 'down');
  try {
    await expect(list()).rejects.toThrow();
    await expect(on(node(1), ['ls', lab.paths.store])).resolves.toBeDefined();
  } finally {
    await setUplink(lab.head, node(0), 'up');
  }
  await until('the store to come back', async () => (await list()) !== undefined, { everyMs: 200 });
});

test('each node has a libvirtd of its own, reached from the other', async () => {
  for (const host of lab.nodes)
    expect((await on(node(0), ['virsh', '-c', `qemu+tcp://${host.name}/system`, 'hostname'])).trim()).toBe(
      host.name,
    );
});
