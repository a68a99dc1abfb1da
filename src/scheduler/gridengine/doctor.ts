import type { Finding } from '../../model/finding.ts';
import type { RunCommand } from '../run-program.ts';
import { jsvFindings } from './jsv-settings.ts';

/** What of a site's Grid Engine works with machines, and which of its tools look at the idle client of one. Throws what qconf says. */
export async function examineGridEngine(
  host: string,
  run: RunCommand,
  signal: AbortSignal,
): Promise<Finding[]> {
  const [complexes, global, local] = await Promise.all([
    run(['qconf', '-sc'], signal),
    run(['qconf', '-sconf'], signal),
    // A host need not have a configuration of its own.
    run(['qconf', '-sconf', host], signal).catch(() => ''),
  ]);
  return findings(complexes, `${local}\n${global}`);
}

/** Of `qconf -sc`, and of `qconf -sconf` of the host and the cell. */
export function findings(complexes: string, configuration: string): Finding[] {
  const knows = /^vm_ok\s/m.test(complexes) && /^vm_mem_slack\s/m.test(complexes);
  const sensor = /^load_sensor\s+\S*load-sensor\.sh/m.test(configuration);
  return [
    {
      check: 'gridengine accounting',
      verdict: 'warn',
      found:
        'qacct has the true cpu and ru_maxrss of a machine; its mem, io and maxvmem, the usage in "qstat -j" and programs that end jobs because they look idle see the idle client: let them read the metrics; users ask "caddis advise"',
    },
    knows && sensor
      ? { check: 'gridengine load sensor', verdict: 'ok', found: 'complexes and load sensor are set up' }
      : {
          check: 'gridengine load sensor',
          verdict: 'warn',
          found: `${knows ? 'the load sensor is not configured on this host' : 'the complexes vm_ok and vm_mem_slack are not there'}: nothing is lent (hooks/gridengine/README.md)`,
        },
    ...jsvFindings(configuration),
  ];
}
