import { expect, it } from 'vitest';

import { findings as gridEngine } from '../../../src/scheduler/gridengine/doctor.ts';
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
  expect(gridEngine(complexes, sensor).map(({ verdict }) => verdict)).toEqual(['warn', 'ok']);
  expect(gridEngine(complexes, 'load_sensor none\n')[1]?.found).toContain('not configured on this host');
  expect(gridEngine('', sensor)[1]?.found).toContain('complexes');
});
