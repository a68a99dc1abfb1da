import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
/** What is compiled, or bundled, instead of being installed as it is. */
const SOURCES = /\.(ts|c|h)$|^(spank|jsv)$/;

/** The Debian package, unpacked into a directory; no lab is needed. */
describe('the Debian package', () => {
  let dir: string;
  let tree: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'caddis-package-'));
    tree = join(dir, 'tree');
    await build(join(dir, 'first'));
    await execa('dpkg-deb', ['-x', await build(join(dir, 'second')), tree]);
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  async function build(to: string): Promise<string> {
    await mkdir(to);
    // As whoever builds may have it.
    const { stdout } = await execa(
      'sh',
      ['-c', 'umask 077; exec node packaging/deb/build.mjs "$1"', 'sh', to],
      {
        cwd: root,
      },
    );
    return stdout.trim();
  }

  it('is the same whenever it is built of the same tree', async () => {
    const [first, second] = await Promise.all(
      ['first', 'second'].map(async (name) => {
        const [deb = ''] = await readdir(join(dir, name));
        return readFile(join(dir, name, deb));
      }),
    );
    expect(first?.equals(second as Buffer)).toBe(true);
  });

  it.each(['slurm', 'gridengine'])('has every file that a site needs for %s', async (scheduler) => {
    const installed = await readdir(join(tree, 'usr/lib/caddis', scheduler));
    const wanted = (await readdir(join(root, 'hooks', scheduler))).filter((name) => !SOURCES.test(name));
    expect(installed).toEqual(expect.arrayContaining(wanted));
    for (const name of installed.filter((one) => one.endsWith('.sh')))
      await execa('sh', ['-n', join(tree, 'usr/lib/caddis', scheduler, name)]);
  });

  it('lets users read what runs in their name, and nobody write it', async () => {
    const { stdout } = await execa('find', [
      tree,
      '!',
      '-type',
      'l',
      '!',
      '-perm',
      '644',
      '!',
      '-perm',
      '755',
    ]);
    expect(stdout).toBe('');
  });

  it('leaves what is there already as it is', async () => {
    const there = join(dir, 'there');
    await mkdir(join(there, 'usr/share'), { recursive: true, mode: 0o700 });
    await writeFile(join(there, 'usr/secret'), '', { mode: 0o600 });
    await execa('node', ['packaging/stage.mjs', there], { cwd: root });
    const modes = await Promise.all(
      ['usr', 'usr/share', 'usr/secret', 'usr/lib'].map(
        async (path) => (await stat(join(there, path))).mode & 0o777,
      ),
    );
    expect(modes).toEqual([0o700, 0o700, 0o600, 0o755]);
  });

  it('has manual pages that man reads without complaint, and the dashboard', async () => {
    for (const page of ['man8/caddis.8', 'man8/caddisd.8', 'man5/caddis.toml.5']) {
      const path = join(tree, 'usr/share/man', `${page}.gz`);
      const { stdout, stderr } = await execa('man', ['--warnings', '-l', path], { env: { MANWIDTH: '100' } });
      expect({ page, stderr }).toEqual({ page, stderr: '' });
      expect(stdout).toMatch(/^NAME\n +caddis/m);
    }
    JSON.parse(await readFile(join(tree, 'usr/share/doc/caddis/docs/grafana-dashboard.json'), 'utf8'));
  });

  it('has programs that start', async () => {
    const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
    expect((await execa(join(tree, 'usr/sbin/caddis'), ['--version'])).stdout).toBe(version);
    const config = join(dir, 'caddis.toml');
    await writeFile(config, '');
    const checked = await execa(join(tree, 'usr/sbin/caddisd'), ['--config', config, '--check']);
    expect(checked.stdout).toBe('the configuration is well-formed');
    const jsv = await execa(join(tree, 'usr/lib/caddis/gridengine/jsv'), { input: 'START\nBEGIN\nQUIT\n' });
    expect(jsv.stdout.split('\n')).toEqual(expect.arrayContaining(['STARTED', 'RESULT STATE CORRECT']));
    const { exitCode } = await execa(join(tree, 'usr/sbin/caddis-hook'), [], { reject: false });
    expect(exitCode).toBe(64);
  });
});
