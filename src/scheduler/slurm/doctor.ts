import type { Finding } from '../../model/finding.ts';
import type { RunCommand } from '../run-program.ts';
import { knowsSlack } from './node-gres.ts';

/** What of a site's Slurm works with machines, and which of its tools look at the idle client of one. Throws what scontrol says. */
export async function examineSlurm(run: RunCommand, signal: AbortSignal): Promise<Finding[]> {
  return findings(await run(['scontrol', 'show', 'config'], signal));
}

/** Of `scontrol show config`. */
export function findings(config: string): Finding[] {
  const setting = (name: string) => new RegExp(`^${name}\\s*=\\s*(\\S+)`, 'm').exec(config)?.[1] ?? '';
  const hasDatabase = setting('AccountingStorageType').endsWith('slurmdbd');
  const gathers = setting('JobAcctGatherType');
  const wrong = gathers.endsWith('none')
    ? 'sstat, MaxRSS and seff have no numbers (JobAcctGatherType)'
    : `sstat, MaxRSS, TotalCPU and seff show the idle client of each machine (${gathers})`;
  return [
    {
      check: 'slurm accounting',
      verdict: 'warn',
      found: `${wrong}; programs that end jobs because they look idle see an idle client too: let them read the metrics; users ask "caddis advise"`,
    },
    hasDatabase
      ? { check: 'slurm usage', verdict: 'ok', found: 'true usage goes into AdminComment, by slurmdbd' }
      : {
          check: 'slurm usage',
          verdict: 'warn',
          found:
            'there is no slurmdbd (AccountingStorageType): true usage is in "caddis advise" and the metrics alone',
        },
    knowsSlack(config)
      ? { check: 'slurm slack', verdict: 'ok', found: 'slurmctld knows the GRES slackmem' }
      : {
          check: 'slurm slack',
          verdict: 'warn',
          found: 'GresTypes has no slackmem: nothing is lent (hooks/slurm/gres.conf)',
        },
  ];
}
