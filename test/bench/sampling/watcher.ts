import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { configSchema } from '../../../src/config/schema.ts';
import { enforceCpuLimit } from '../../../src/daemon/accounting/cpu-limit.ts';
import { Guest } from '../../../src/daemon/guest.ts';
import { Job } from '../../../src/daemon/job.ts';
import { createLog } from '../../../src/daemon/log.ts';
import type { Node } from '../../../src/daemon/node.ts';
import { Feed } from '../../../src/daemon/pressure/feed.ts';
import { guestSample } from '../../../src/daemon/pressure/guest-sample.ts';
import { Sampler } from '../../../src/daemon/pressure/sampler.ts';
import { createGridEngine } from '../../../src/scheduler/gridengine/index.ts';

/**
 * Run by the bench in a process of its own: the parts of caddisd that sample, with so many machines whose agents are the parent's. Prints one line of JSON: CPU time and looks
 * within the seconds that it was told, after it has settled.
 */
const { values } = parseArgs({
  options: {
    machines: { type: 'string' },
    seconds: { type: 'string' },
    agents: { type: 'string' },
    run: { type: 'string' },
  },
});
const machines = Number(values.machines);
const seconds = Number(values.seconds);
const SETTLE_MS = 4_000;
const run = values.run as string;

const config = configSchema.parse({ run_dir: run, log_level: 'warn' });
const log = createLog(config);
const scheduler = createGridEngine({ binDir: '/bin', spoolDir: run, environment: {}, runDir: run });
const jobs = Array.from({ length: machines }, (_, i) => jobOf(i));
const node = {
  config,
  jobs: { all: () => jobs },
  health: { reason: undefined },
  context: { config, capacity: { memoryBytes: 64 * 2 ** 30, cpus: 64 } },
} as unknown as Node;
const feed = new Feed('gridengine', scheduler, log);
const sampler = new Sampler(node, ({ report }) => feed.offer(report));

let reports = 0;
const guests = jobs.map((job, i) => {
  const guest = new Guest({
    control: join(values.agents as string, `${i}.ctl`),
    bulk: join(values.agents as string, `${i}.bulk`),
    log,
    lostShimGraceMs: 3_000,
    silentAfterMs: 90_000,
    decideRelay: () => Promise.reject(new Error('no relay in a bench')),
    sayNotStarted: undefined,
    isForMainOnly: undefined,
    onSignal: () => 'pass',
    stepOpened: () => undefined,
    stepEnded: () => undefined,
    silent: (reason) => log.warn(reason),
    pressure: (pressure) => {
      reports += 1;
      job.sizes.availableBytes = pressure.memAvailableBytes;
      const sample = guestSample(pressure, performance.now());
      if (!sample) return;
      job.report = { sample, steps: pressure.sessions, used: pressure.job };
      enforceCpuLimit(job);
    },
  });
  guest.watch();
  return guest;
});
sampler.start();
setTimeout(begin, SETTLE_MS);

function begin(): void {
  const cpu = process.cpuUsage();
  const looks = sampler.view?.cost;
  const before = reports;
  setTimeout(() => {
    const { user, system } = process.cpuUsage(cpu);
    const now = sampler.view?.cost;
    console.log(
      JSON.stringify({
        cpu_ms_per_s: (user + system) / 1000 / seconds,
        looks: (now?.samples ?? 0) - (looks?.samples ?? 0),
        look_ms:
          ((now?.ms ?? 0) - (looks?.ms ?? 0)) / Math.max((now?.samples ?? 0) - (looks?.samples ?? 0), 1),
        reports: reports - before,
        seen: sampler.view?.jobs.filter(({ usage }) => usage).length ?? 0,
      }),
    );
    for (const guest of guests) guest.close();
    process.exit(0);
  }, seconds * 1000);
}

function jobOf(i: number): Job {
  const machine = `caddis-bench${String(i).padStart(4, '0')}`;
  return new Job({
    facts: {
      version: 1,
      machine,
      key: { scheduler: 'gridengine', jobId: String(i + 1), task: '1' },
      incarnation: machine,
      request: {
        restartCount: 0,
        user: 'bench',
        uid: 1,
        gid: 1,
        cpus: 1,
        memoryBytes: 2 ** 30,
        queue: 'all.q',
        hosts: 1,
        requeueable: true,
        cpuLimits: { hardMs: 1e12 },
        jobName: 'bench',
        workDir: '/',
      },
      image: '',
      acceleration: 'tcg',
      startedAt: new Date().toISOString(),
      ready: true,
    },
    scheduler,
    places: {} as Job['places'],
    log,
    identity: {} as Job['identity'],
    execute: async () => undefined,
  });
}
