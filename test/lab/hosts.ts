import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { makeHostCgroups } from './cgroups.ts';
import type { LabHost } from './host.ts';
import { type HostName, headName, hostDirectory, hostNames, labPaths, network, programs } from './layout.ts';
import { mountScript } from './mounts.ts';
import { on } from './process.ts';

/** Makes the three hosts, with their own mounts, network and CPUs. ~0.3 s. */
export async function makeHosts(cpus: Readonly<Record<HostName, string>>): Promise<Map<HostName, LabHost>> {
  await Promise.all(hostNames.map((name) => makeHostCgroups(name, cpus[name])));
  const hosts = new Map(
    await Promise.all(hostNames.map(async (name) => [name, await holdHost(name)] as const)),
  );
  await Promise.all([...hosts.values()].map(prepareFiles));
  await Promise.all([...hosts.values()].map((host) => on(host, ['sh', '-ec', mountScript(host)])));
  await connect(hosts);
  return hosts;
}

/** The LabHost for a holder that runs already. */
export function labHost(name: HostName, namespacePid: number): LabHost {
  const prefix = [programs.labhost, 'enter', String(namespacePid), name];
  return { name, address: network.addresses[name], namespacePid, prefix };
}

async function holdHost(name: HostName): Promise<LabHost> {
  const child = spawn(programs.labhost, ['hold', name], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let complaint = '';
  child.stderr.on('data', (data: Buffer) => {
    complaint += data;
  });
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`host ${name} could not be made: ${complaint.trim()}`)));
    child.stdout.once('data', () => resolve());
  });
  child.removeAllListeners();
  child.stdout.destroy();
  child.stderr.destroy();
  child.unref();
  return labHost(name, child.pid as number);
}

async function prepareFiles(host: LabHost): Promise<void> {
  const directory = hostDirectory(host.name);
  await mkdir(directory, { recursive: true });
  const others = hostNames.map((name) => `${network.addresses[name]} ${name}\n`).join('');
  await writeFile(join(directory, 'hosts'), `127.0.0.1 localhost\n${others}`);
  await writeFile(join(directory, 'hostname'), `${host.name}\n`);
  await mkdir(labPaths.store, { recursive: true });
}

/**
 * Every host has a bridge br0 that carries its address, so that VM taps can join it. The head's is the switch: each
 * node's eth0 is a veth whose other end is `up-<node>` on the head's bridge.
 */
async function connect(hosts: ReadonlyMap<HostName, LabHost>): Promise<void> {
  await Promise.all([...hosts].map(async ([, host]) => await on(host, ['sh', '-ec', bridgeScript(host)])));
  const head = hosts.get(headName) as LabHost;
  const nodes = [...hosts.values()].filter((host) => host !== head);
  const uplinks = nodes.map(
    ({ name, namespacePid }) =>
      `ip link add up-${name} type veth peer name eth0 netns ${namespacePid}; ip link set up-${name} master ${network.bridge} up`,
  );
  await on(head, ['sh', '-ec', uplinks.join('\n')]);
  await Promise.all(
    nodes.map((node) => on(node, ['ip', 'link', 'set', 'eth0', 'master', network.bridge, 'up'])),
  );
}

function bridgeScript(host: LabHost): string {
  // A fixed address: a bridge otherwise takes the lowest of its ports' and changes it when a tap joins.
  const mac = `02:ca:dd:00:00:${Number(host.address.split('.').at(-1)).toString(16).padStart(2, '0')}`;
  return [
    'ip link set lo up',
    `ip link add ${network.bridge} address ${mac} type bridge forward_delay 0 stp_state 0`,
    `ip addr add ${host.address}/${network.prefixLength} dev ${network.bridge}`,
    `ip link set ${network.bridge} up`,
  ].join('\n');
}

/** Cuts a node's network, or heals it: its uplink on the head goes down, as a pulled cable. Its VMs are cut with it. */
export async function setUplink(head: LabHost, node: LabHost, state: 'up' | 'down'): Promise<void> {
  await on(head, ['ip', 'link', 'set', `up-${node.name}`, state]);
}
