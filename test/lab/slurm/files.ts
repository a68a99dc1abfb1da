import { randomBytes } from 'node:crypto';
import { access, chmod, chown, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Lab } from '../host.ts';
import { repository } from '../layout.ts';
import { on } from '../process.ts';
import { type Cluster, etcSlurm, slurmdSpool } from './cluster.ts';
import { slurmConf, slurmdbdConf } from './config.ts';

const SOURCE = join(repository, 'hooks/slurm');
/** Where an installation has our files; the lab has them elsewhere. */
const INSTALLED = {
  hooks: '/usr/lib/caddis/slurm',
  settings: '/etc/caddis/hooks.env',
  plugin: '/usr/lib/caddis/spank_caddis.so',
  client: '/usr/sbin/caddis-hook',
} as const;
const PLUGIN = join(repository, 'build/spank_caddis.so');

/**
 * Writes the configuration and our hooks: the repository's own files, with the lab's paths in place of the installed ones.
 * Throws if the SPANK plugin was not built.
 */
export async function writeFiles(lab: Lab, cluster: Cluster): Promise<void> {
  await mkdir(cluster.etc, { recursive: true });
  if (cluster.withCaddis) await writeHooks(cluster);
  const ours = withLabPaths(cluster, await readFile(join(SOURCE, 'slurm.conf'), 'utf8'));
  const plugstack = cluster.withCaddis
    ? withLabPaths(cluster, await readFile(join(SOURCE, 'plugstack.conf'), 'utf8'))
    : '# Native lab: no plugins.\n';
  const scavenge = cluster.withCaddis ? await scavengeLines(cluster) : '';
  await write(join(cluster.etc, 'slurm.conf'), slurmConf(lab, cluster, { ours, scavenge }), 0o644);
  await writeSubmitPlugin(cluster);
  // slurmdbd refuses a file that others may read.
  await write(join(cluster.etc, 'slurmdbd.conf'), slurmdbdConf(lab, cluster), 0o600);
  await write(join(cluster.etc, 'plugstack.conf'), plugstack, 0o644);
  // A device that every machine has stands for a graphics card: to show what becomes of jobs that ask for one.
  await write(
    join(cluster.etc, 'gres.conf'),
    `Name=gpu File=/dev/zero\n${await readFile(join(SOURCE, 'gres.conf'), 'utf8')}`,
    0o644,
  );
  // slurmd looks for the kind of cgroups even when no plugin uses them, and the hosts mount version 1 without systemd's.
  await write(join(cluster.etc, 'cgroup.conf'), 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n', 0o644);
}

async function scavengeLines(cluster: Cluster): Promise<string> {
  const name = cluster.scavenge === 'shadow' ? 'scavenge.conf' : 'scavenge-one-slurmd.conf';
  return readFile(join(SOURCE, name), 'utf8');
}

/** As a site would: short jobs that name no partition go into slack. Few tests say how long a job runs. */
async function writeSubmitPlugin(cluster: Cluster): Promise<void> {
  const text = await readFile(join(SOURCE, 'job_submit.lua'), 'utf8');
  const ours = text.replace('minutes = 0 }', 'minutes = 10 }');
  if (ours === text) throw new Error('job_submit.lua has no "minutes = 0 }" that the lab could set');
  await write(join(cluster.etc, 'job_submit.lua'), ours, 0o644);
}

/** An empty controller state, and the munge key; both daemons insist on the owner. */
export async function freshState(lab: Lab, cluster: Cluster): Promise<void> {
  await rm(cluster.state, { recursive: true, force: true });
  await mkdir(cluster.state, { recursive: true, mode: 0o700 });
  await rm(cluster.munge, { recursive: true, force: true });
  await mkdir(cluster.munge, { recursive: true });
  const { uid, gid } = await account(lab, 'munge');
  const key = join(cluster.munge, 'munge.key');
  await writeFile(key, randomBytes(128), { mode: 0o600 });
  for (const path of [cluster.munge, key]) await chown(path, uid, gid);
}

/** Gives every host /etc/slurm, and every node an empty spool: what slurmd finds there of an older cluster would be wrong. */
export async function prepareHosts(lab: Lab, cluster: Cluster): Promise<void> {
  const bind = `mkdir -p ${etcSlurm}; mountpoint -q ${etcSlurm} || mount --bind ${cluster.etc} ${etcSlurm}`;
  const spool = `rm -rf ${slurmdSpool}; mkdir -p ${slurmdSpool}`;
  await Promise.all([
    on(lab.head, ['sh', '-ec', bind]),
    ...lab.nodes.map((node) => on(node, ['sh', '-ec', `${bind}; ${spool}`])),
  ]);
}

async function writeHooks(cluster: Cluster): Promise<void> {
  await access(PLUGIN).catch(() => {
    throw new Error(`expected the SPANK plugin at ${PLUGIN}: run "npm run build"`);
  });
  await mkdir(cluster.hooks, { recursive: true });
  for (const file of (await readdir(SOURCE)).filter((name) => name.endsWith('.sh')))
    await write(
      join(cluster.hooks, file),
      withLabPaths(cluster, await readFile(join(SOURCE, file), 'utf8')),
      0o755,
    );
  await write(join(cluster.hooks, 'hooks.env'), `CADDIS_HOOK=${client()}\n`, 0o644);
}

/** A hook that runs is read as it goes on: replaced by rename, never in place. */
async function write(path: string, text: string, mode: number): Promise<void> {
  await writeFile(`${path}.new`, text, { mode });
  await chmod(`${path}.new`, mode);
  await rename(`${path}.new`, path);
}

function withLabPaths(cluster: Cluster, text: string): string {
  return text
    .replaceAll(INSTALLED.plugin, PLUGIN)
    .replaceAll(INSTALLED.settings, join(cluster.hooks, 'hooks.env'))
    .replaceAll(INSTALLED.hooks, cluster.hooks)
    .replaceAll(INSTALLED.client, client());
}

function client(): string {
  return process.env.CADDIS_LAB_HOOK ?? join(repository, 'build/caddis-hook');
}

async function account(lab: Lab, name: string): Promise<{ uid: number; gid: number }> {
  const [, , uid, gid] = (await on(lab.head, ['getent', 'passwd', name])).split(':');
  return { uid: Number(uid), gid: Number(gid) };
}
