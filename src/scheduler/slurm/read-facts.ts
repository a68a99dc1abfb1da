import type { HookCall, JobFacts } from '../../model/job.ts';
import { MiB } from '../../model/units.ts';
import { BadHookCall } from '../scheduler.ts';
import { count } from './environment.ts';
import { countListed } from './hostlist.ts';
import { vmChoice } from './read-prolog.ts';

/**
 * `facts slurm JOBID memory_mb=N cpus=N cores=LIST restart=N [prolog=missed [vm=on|off]]`, from the SPANK plugin in slurmstepd. Memory 0 means that the site does not hand out memory.
 * `cpus` are those of the step on this node, `cores` the job's own: the larger is the job's size.
 */
export function readFacts(call: HookCall): JobFacts {
  const [scheduler, jobId = '', ...words] = call.args;
  if (scheduler !== 'slurm')
    throw new BadHookCall(`expected "facts slurm JOBID ...", got "facts ${call.args.join(' ')}"`);
  const said = new Map(
    words.map((word) => {
      const at = word.indexOf('=');
      return [word.slice(0, Math.max(at, 0)), word.slice(at + 1)] as const;
    }),
  );
  const memoryMb = count(said.get('memory_mb') ?? '', 'memory_mb of the facts');
  const cpus = Math.max(
    count(said.get('cpus') ?? '', 'cpus of the facts'),
    countListed(said.get('cores') ?? ''),
  );
  return {
    key: { scheduler: 'slurm', jobId: String(count(jobId, 'job id of the facts')), task: '0' },
    memoryBytes: memoryMb > 0 ? memoryMb * MiB : undefined,
    cpus: cpus > 0 ? cpus : undefined,
    unheralded: said.get('prolog') === 'missed' ? { vm: vmChoice(said.get('vm')) } : undefined,
  };
}
