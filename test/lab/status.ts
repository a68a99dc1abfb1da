import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { type RecordedDaemon, recordedDaemons } from './daemons.ts';
import { labPaths, network } from './layout.ts';
import { schedulers } from './parts.ts';
import { labOf, loadState } from './state.ts';

export interface LabStatus {
  /** `broken`: a host or a daemon is gone, or `up` did not finish; the next `up` starts afresh. */
  readonly state: 'up' | 'down' | 'broken';
  readonly root: string;
  readonly pinned: boolean;
  readonly hosts: readonly {
    readonly name: string;
    readonly address: string;
    readonly namespacePid: number;
    readonly daemons: readonly Omit<RecordedDaemon, 'host'>[];
  }[];
  readonly users: readonly {
    readonly name: string;
    readonly uid: number;
    readonly gid: number;
    readonly home: string;
  }[];
  /** Same path on every host. `homeExport` is what a guest mounts. */
  readonly shared: { readonly home: string; readonly homeExport: string; readonly store: string };
  readonly vmAddresses: { readonly bridge: string; readonly first: string; readonly last: string };
  /** Environment for the clients, by scheduler. */
  readonly environment: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly logs: readonly string[];
}

export async function status(): Promise<LabStatus> {
  const [state, daemons] = await Promise.all([loadState(), recordedDaemons()]);
  const lab = state && (await labOf(state));
  const complete = lab && state.phase === 'up' && daemons.every(({ alive }) => alive);
  const logs = await readdir(labPaths.logs).catch(() => []);
  const environment = lab
    ? (await schedulers()).map((scheduler) => [scheduler.name, scheduler.environment(lab)])
    : [];
  return {
    state: state === undefined ? 'down' : complete ? 'up' : 'broken',
    root: labPaths.root,
    pinned: state?.pinned ?? false,
    hosts: (lab ? [lab.head, ...lab.nodes] : []).map(({ name, address, namespacePid }) => ({
      name,
      address,
      namespacePid,
      daemons: daemons.filter(({ host }) => host === name).map(({ host: _, ...daemon }) => daemon),
    })),
    users: state?.users ?? [],
    shared: {
      home: labPaths.home,
      homeExport: `${network.addresses.head}:${labPaths.home}`,
      store: labPaths.store,
    },
    vmAddresses: { bridge: network.bridge, ...network.vmRange },
    environment: Object.fromEntries(environment),
    logs: logs.sort().map((file) => join(labPaths.logs, file)),
  };
}

/** The same for people. */
export function statusText(now: LabStatus): string {
  const hosts = now.hosts.map(({ name, address, daemons }) => {
    const parts = daemons.map((daemon) => `${daemon.name}${daemon.alive ? '' : ' (DEAD)'}`);
    return `  ${name.padEnd(5)} ${address.padEnd(12)} ${parts.join(' ')}`;
  });
  return [
    `lab: ${now.state}${now.state === 'up' && !now.pinned ? ', not pinned' : ''}`,
    ...hosts,
    ...(now.hosts.length > 0
      ? [
          `users: ${now.users.map(({ name, uid }) => `${name} (${uid})`).join(', ')}`,
          `home: ${now.shared.homeExport}, store: ${now.shared.store}`,
        ]
      : []),
    `logs: ${labPaths.logs}`,
  ].join('\n');
}
