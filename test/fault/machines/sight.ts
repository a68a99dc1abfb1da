import { asUser } from '../../integration/support/batch.ts';
import { hookClient } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { on } from '../../lab/process.ts';
import type { CountingJob } from './counting-job.ts';

/** A job as its scheduler and the nodes see it at one moment. */
export interface Sight {
  /** `RUNNING`, `PENDING`, ... of Slurm; `r`, `qw`, `Rq`, `Eqw`, ... of Grid Engine; empty: it is not listed. */
  readonly state: string;
  /** Slurm's reason. */
  readonly reason: string;
  readonly machines: readonly Machine[];
}

export interface Machine {
  readonly host: string;
  readonly job: string;
  readonly machine: string;
  readonly phase: string;
  readonly incarnation: string;
}

/** Looks at all jobs at once. A node whose caddisd does not answer has no machines. */
export async function look(lab: Lab, jobs: readonly CountingJob[]): Promise<Map<CountingJob, Sight>> {
  const [slurm, gridengine, ...machines] = await Promise.all([
    slurmStates(lab),
    gridEngineStates(lab),
    ...lab.nodes.map(machinesOn),
  ]);
  return new Map(
    jobs.map((job) => {
      const seen = (job.system === 'slurm' ? slurm : gridengine).get(job.id) ?? { state: '', reason: '' };
      return [job, { ...seen, machines: machines.flat().filter((machine) => machine.job === job.key) }];
    }),
  );
}

/** A sight in words. */
export function describe({ state, reason, machines }: Sight): string {
  const where = machines.map(({ host, phase, incarnation }) => `${phase} on ${host} as ${incarnation}`);
  return `its scheduler says "${state}${reason === '' ? '' : ` (${reason})`}", machines: ${where.join(', ') || 'none'}`;
}

type States = Map<string, { state: string; reason: string }>;

async function slurmStates(lab: Lab): Promise<States> {
  const { stdout } = await asUser(lab, ['squeue', '-h', '-o', '%A|%T|%r'], { user: 'root' });
  return new Map(
    stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => {
        const [id = '', state = '', reason = ''] = line.split('|');
        return [id, { state, reason }];
      }),
  );
}

async function gridEngineStates(lab: Lab): Promise<States> {
  const { stdout } = await asUser(lab, ['qstat', '-u', '*'], { user: 'root' });
  return new Map(
    [...stdout.matchAll(/^\s*(\d+)\s+\S+\s+\S+\s+\S+\s+(\S+)/gm)].map(([, id = '', state = '']) => [
      id,
      { state, reason: '' },
    ]),
  );
}

async function machinesOn(node: LabHost): Promise<Machine[]> {
  const text = await on(node, [hookClient, '--connect-timeout', '0', 'status'], { timeoutMs: 10_000 }).catch(
    () => '{"machines":[]}',
  );
  const { machines } = JSON.parse(text) as { machines: Omit<Machine, 'host'>[] };
  return machines.map((machine) => ({ ...machine, host: node.name }));
}
