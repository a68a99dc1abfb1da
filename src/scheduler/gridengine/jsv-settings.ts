import type { Finding } from '../../model/finding.ts';

/** What of a job may be altered where a cell has a JSV (`jsv_allowed_mod`, sge_conf(5)), and what of ours does not work without. */
const ALTERED: ReadonlyMap<string, string> = new Map([
  ['ac', 'the size of grown machines is not in "qstat -j"'],
  ['h', 'no job goes back to the queue for more memory ([growth])'],
  ['l_hard', 'no job goes back to the queue for more memory ([growth])'],
  ['q_hard', '"caddis migrate JOB --to HOST" is refused'],
]);

/** Whether `qconf -sconf` lets anybody alter this of a job: all, where no JSV watches. */
export function mayAlter(configuration: string, what: string): boolean {
  return (
    jsvOf(configuration) === undefined ||
    settingOf(configuration, 'jsv_allowed_mod').split(',').includes(what)
  );
}

/** Of `qconf -sconf`: whether the cell has our JSV, and lets be altered what we alter. */
export function jsvFindings(configuration: string): Finding[] {
  const jsv = jsvOf(configuration);
  if (jsv === undefined)
    return [
      {
        check: 'gridengine jsv',
        verdict: 'warn',
        found:
          'the cell has no JSV (jsv_url): jobs get no checkpoint environment by their queue, so that one that is moved starts afresh, and h_vmem bounds the hooks too (hooks/gridengine/README.md)',
      },
    ];
  const [program = ''] = jsv
    .replace(/^\w+:/, '')
    .replace(/^[^/@]+@/, '')
    .split(/\s+/);
  const isOurs = /(^|\/)(caddis-)?jsv(\.cjs)?$/.test(program);
  const missing = [...ALTERED.keys()].filter((what) => !mayAlter(configuration, what));
  const lost = [...new Set(missing.map((what) => ALTERED.get(what)))].join('; ');
  return [
    isOurs
      ? { check: 'gridengine jsv', verdict: 'ok', found: `jsv_url is ${jsv}` }
      : {
          check: 'gridengine jsv',
          verdict: 'warn',
          found: `jsv_url is ${jsv}, which is not Caddis's: unless it does what that does, jobs get no checkpoint environment by their queue, and h_vmem bounds the hooks too (hooks/gridengine/README.md)`,
        },
    missing.length === 0
      ? { check: 'gridengine jsv_allowed_mod', verdict: 'ok', found: `has ${[...ALTERED.keys()].join(', ')}` }
      : {
          check: 'gridengine jsv_allowed_mod',
          verdict: 'warn',
          found: `has no ${missing.join(', ')}: ${lost}; add them with "qconf -mconf"`,
        },
  ];
}

function jsvOf(configuration: string): string | undefined {
  const url = settingOf(configuration, 'jsv_url');
  return /^none$/i.test(url) ? undefined : url;
}

function settingOf(configuration: string, name: string): string {
  // qconf breaks long lines with a backslash.
  const lines = configuration.replace(/\\\n\s*/g, '');
  return new RegExp(`^${name}\\s+(\\S.*?)\\s*$`, 'm').exec(lines)?.[1] ?? 'none';
}
