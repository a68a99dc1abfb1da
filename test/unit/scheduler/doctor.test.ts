import { expect, it } from 'vitest';

import { findings as gridEngine } from '../../../src/scheduler/gridengine/doctor.ts';
import { jsvFindings } from '../../../src/scheduler/gridengine/jsv-settings.ts';
import { findings as slurm } from '../../../src/scheduler/slurm/doctor.ts';

it("names what a site's Slurm sees wrongly, and what is missing", () => {
  const config = (storage: string, gather: string, gres: string) =>
    `AccountingStorageType   = accounting_storage/${storage}\nJobAcctGatherType       = jobacct_gather/${gather}\nGresTypes               = ${gres}\n`;
  const good = slurm(config('slurmdbd', 'cgroup', 'gpu,slackmem'));
  expect(good.map(({ verdict }) => verdict)).toEqual(['warn', 'ok', 'ok']);
  expect(good[0]?.found).toMatch(/seff show the idle client .*jobacct_gather\/cgroup.*look idle/);
  const bare = slurm(config('none', 'none', '(null)'));
  expect(bare.map(({ verdict }) => verdict)).toEqual(['warn', 'warn', 'warn']);
  expect(bare[0]?.found).toContain('have no numbers');
});

it("names what a site's Grid Engine sees wrongly, and what is missing", () => {
  const complexes = 'vm_ok vmok INT <= YES NO 0 0\nvm_mem_slack vms MEMORY <= YES NO 0 0\n';
  const sensor = 'load_sensor                  /usr/lib/caddis/gridengine/load-sensor.sh\n';
  const jsv =
    'jsv_url   script:/usr/lib/caddis/gridengine/jsv all.q=caddis\njsv_allowed_mod   ac,h,i,q_hard,l_hard\n';
  expect(gridEngine(complexes, sensor + jsv).map(({ verdict }) => verdict)).toEqual([
    'warn',
    'ok',
    'ok',
    'ok',
  ]);
  expect(gridEngine(complexes, 'load_sensor none\n')[1]?.found).toContain('not configured on this host');
  expect(gridEngine('', sensor)[1]?.found).toContain('complexes');
});

it("names what a cell's JSV settings keep from working", () => {
  const verdicts = (configuration: string) =>
    jsvFindings(configuration).map(({ verdict, found }) => `${verdict}: ${found}`);
  expect(verdicts('jsv_url   none\njsv_allowed_mod ac\n')).toEqual([
    expect.stringMatching(/^warn: .*no JSV.*starts afresh/),
  ]);
  // sge_conf(5): what a cell has when nobody changed it.
  const shipped = verdicts(
    'jsv_url  script:root@/opt/site/check.pl -x\njsv_allowed_mod  ac,h,i,e,o,j,M,N,p,w\n',
  );
  expect(shipped).toEqual([
    expect.stringMatching(/^warn: jsv_url is script:root@\/opt\/site\/check.pl -x, which is not Caddis's/),
    expect.stringMatching(/^warn: has no l_hard, q_hard: .*growth.*migrate JOB --to/),
  ]);
  const wrapped = verdicts(
    'jsv_url  \\\n     sgeadmin@/lab/hooks/jsv\njsv_allowed_mod  ac,h,i,e,o,j,M,N, \\\n      p,w,q_hard,l_hard\n',
  );
  expect(wrapped).toEqual(['ok: jsv_url is sgeadmin@/lab/hooks/jsv', 'ok: has ac, h, l_hard, q_hard']);
});
