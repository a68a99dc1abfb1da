/** What the parts of the lab (Slurm, Grid Engine, libvirt, storage) know of a host. Made by hosts.ts. */
export interface LabHost {
  /** `head`, `n1`, `n2`: also the UTS host name. */
  readonly name: string;
  /** Address on the lab's bridge, e.g. 10.77.0.11. */
  readonly address: string;
  /** Pid of the process that holds the host's namespaces. */
  readonly namespacePid: number;
  /** argv prefix that runs a command in the host's namespaces and cgroups, as root: `[...prefix, cmd, ...args]`. */
  readonly prefix: readonly string[];
}

/** Fixed places of one lab, all under one root directory (default /var/lib/caddis-lab). */
export interface LabPaths {
  readonly root: string;
  /** Logs of all daemons: `<logs>/<host>-<daemon>.log`. */
  readonly logs: string;
  /** Pid files: `<run>/<host>-<daemon>.pid`; `lab down` stops what they name, checked against the start time. */
  readonly run: string;
  /** Home directories, exported over NFS by the head and visible at this same path on every host. */
  readonly home: string;
  /** The site's shared store, reached by hosts over sshfs; same path on every host. */
  readonly store: string;
}

export interface Lab {
  readonly paths: LabPaths;
  readonly head: LabHost;
  readonly nodes: readonly LabHost[];
  readonly users: readonly {
    readonly name: string;
    readonly uid: number;
    readonly gid: number;
    readonly home: string;
  }[];
}

/**
 * One batch system in the lab. `start` is called when hosts, users and home directories are there, beside the start of libvirtd, NFS and the store; `stop` must work from a half-started state
 * and is followed by a sweep that kills by recorded pid. `environment` is what a user's shell needs for the clients.
 */
export interface LabScheduler {
  readonly name: 'slurm' | 'gridengine';
  start(lab: Lab): Promise<void>;
  stop(lab: Lab): Promise<void>;
  environment(lab: Lab): Record<string, string>;
}
