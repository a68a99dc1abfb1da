import { hookClient, startOn, stopOn } from '../lab/caddisd.ts';
import type { Lab, LabHost } from '../lab/host.ts';
import { on } from '../lab/process.ts';

/** No job of the lab's slurmctld gets that far; the controller says "invalid job id" and the site's defaults hold. */
const FIRST_JOB = 60_000_001;

/** Machines of one node that are made as slurmd makes them, by prologs for jobs that slurmctld does not know: a lab node has fewer CPUs than that. */
export class MachinesByHook {
  readonly #lab: Lab;
  readonly #host: LabHost;
  readonly #user: { readonly name: string; readonly uid: number; readonly gid: number };
  #count = 0;

  constructor(lab: Lab, node: string) {
    const host = lab.nodes.find(({ name }) => name === node);
    const alice = lab.users.find(({ name }) => name === 'alice');
    if (!host || !alice) throw new Error(`no node ${node} or no user alice in the lab`);
    this.#lab = lab;
    this.#host = host;
    this.#user = alice;
  }

  /** To be called first. caddisd cannot ask slurmctld until `removeAll`: it would end what slurmctld does not know, and without an answer it changes nothing. */
  async begin(): Promise<void> {
    await stopOn(this.#host);
    await startOn(this.#lab, this.#host, '[slurm]\nbin_dir = "/nonexistent"\n');
  }

  async add(): Promise<void> {
    await this.#hook('prolog', this.#count);
    this.#count += 1;
  }

  async removeAll(): Promise<void> {
    await Promise.allSettled(Array.from({ length: this.#count }, (_, i) => this.#hook('epilog', i)));
    // What the epilog script removes of a job that got no machine: the file with the reason.
    await on(this.#host, ['sh', '-c', `rm -f /run/caddis/jobs/slurm-${String(FIRST_JOB).slice(0, -2)}??`]);
    await stopOn(this.#host);
    await startOn(this.#lab, this.#host);
  }

  #hook(verb: string, i: number): Promise<string> {
    const id = String(FIRST_JOB + i);
    const env = {
      SLURM_JOB_ID: id,
      SLURM_JOBID: id,
      SLURM_JOB_RESTART_COUNT: '0',
      SLURM_JOB_USER: this.#user.name,
      SLURM_JOB_UID: String(this.#user.uid),
      SLURM_JOB_GID: String(this.#user.gid),
      SLURM_JOB_PARTITION: 'main',
      SLURM_JOB_CPUS_PER_NODE: '1',
      SLURMD_NODENAME: this.#host.name,
    };
    return on(this.#host, [hookClient, verb, 'slurm'], { env, timeoutMs: 100_000 });
  }
}
