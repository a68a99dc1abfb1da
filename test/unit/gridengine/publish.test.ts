import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { loadText } from '../../../src/scheduler/gridengine/publish.ts';

it('says every value that is in hooks/gridengine/complexes and of the sensor, whole numbers where they are bytes', () => {
  const text = loadText(
    {
      ...{ ok: true, jobs: 2 },
      slack: { memoryBytes: 3221225472.7, cpus: 1.5 },
      lent: { memoryBytes: 0, cpus: 0 },
      pressure: { memory: 0.12, cpu: 0.25, io: 0.0104, overall: 0.25 },
    },
    { bootId: 'b', monotonicMs: 17n },
  );
  expect(text).toBe(`boot b
monotonic_ms 17
vm_ok 1
vm_jobs 2
vm_mem_slack 3221225472
vm_cpu_slack 1.50
vm_mem_pressure 0.120
vm_cpu_pressure 0.250
vm_io_pressure 0.010
vm_pressure 0.250
end
`);
  const hooks = join(import.meta.dirname, '../../../hooks');
  const complexes = readFileSync(join(hooks, 'gridengine/complexes'), 'utf8');
  const sensor = readFileSync(join(hooks, 'client/sensor.c'), 'utf8');
  for (const [name] of text.matchAll(/^vm_\w+/gm)) {
    expect(complexes).toMatch(new RegExp(`^${name}\\s`, 'm'));
    expect(sensor).toContain(`"${name}"`);
  }
});
