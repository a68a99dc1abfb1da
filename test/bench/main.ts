import { parseArgs } from 'node:util';

import type { Bench, BenchOptions } from './bench.ts';
import { tableOf } from './table.ts';

/** Each is loaded only when it is asked for. */
const benches: Record<string, { says: string; load: () => Promise<Bench> }> = {
  start: {
    says: 'submit to first instruction, native beside VM, and where the time goes; base boot beside plain QEMU',
    load: async () => (await import('./start.ts')).start,
  },
  exec: {
    says: 'added latency of a step, stdout and stdin throughput, memory of shim and daemon',
    load: async () => (await import('./exec.ts')).exec,
  },
  rpc: {
    says: 'RPCs to slurmctld of an array, native beside VM',
    load: async () => (await import('./rpc.ts')).rpc,
  },
  checkpoint: {
    says: 'save, restore, periodic checkpoints and migration of jobs with live data, beside virsh, dd and CRIU',
    load: async () => (await import('./checkpoint.ts')).checkpoint,
  },
  giveback: {
    says: 'how soon an owner has back what was lent, beside the predicted times, and what it notices; the neighbour of a runaway',
    load: async () => (await import('./giveback.ts')).giveback,
  },
  sampling: {
    says: 'CPU of caddisd, libvirtd and QEMU for sampling, scheduler calls at rest: simulated machines and real ones',
    load: async () => (await import('./sampling/sampling.ts')).sampling,
  },
  feeds: {
    says: "squeue of a slurmctld with 10,000 nodes, with and without their feeds' updates",
    load: async () => (await import('./feeds/feeds.ts')).feeds,
  },
  datapath: {
    says: 'Node as the data path, without a guest: throughput and CPU of the router',
    load: async () => (await import('./datapath.ts')).datapath,
  },
};

const USAGE = `usage: npm run bench -- NAME [--json] [--runs N] [--tasks N] [--megabytes N] [--machines N] [--sizes N,N] [--seconds N]
${Object.entries(benches)
  .map(([name, { says }]) => `  ${name.padEnd(10)} ${says}`)
  .join('\n')}
  --json        one JSON object on stdout instead of a table
  --runs N      measurements of each kind (default 10; exec: steps, default 30; checkpoint, giveback: default 3)
  --tasks N     tasks of the array (rpc; default 200)
  --megabytes N bytes of each transfer (exec, default 100; datapath, default 1000)
  --machines N  machines on one node for the daemon's memory (exec; default 10, 0: leave it out), or of sampling's real part (default 6)
  --sizes N,N   MB of live data (checkpoint; default 50,500; 2000 takes longer; giveback, whose owner is asked of the first only; default 200,1000,2000)
  --seconds N   of each turn of the owner's work (giveback; default 120)`;

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      runs: { type: 'string' },
      tasks: { type: 'string' },
      megabytes: { type: 'string' },
      machines: { type: 'string' },
      sizes: { type: 'string' },
      seconds: { type: 'string' },
    },
  });
  const [name = ''] = positionals;
  const bench = benches[name];
  if (values.help || !bench || positionals.length > 1) {
    console.error(USAGE);
    process.exit(values.help ? 0 : 2);
  }
  const options: BenchOptions = {
    runs: count('runs', values.runs),
    tasks: count('tasks', values.tasks),
    megabytes: count('megabytes', values.megabytes),
    machines: count('machines', values.machines),
    seconds: count('seconds', values.seconds),
    sizes: values.sizes?.split(',').map((size) => count('sizes', size) as number),
    say: (line) => console.error(`${name}: ${line}`),
  };
  const figures = await (await bench.load())(options);
  console.log(values.json ? JSON.stringify(figures) : tableOf(figures));
  // Connections to machines that are gone must not keep us.
  process.exit(0);
} catch (error) {
  console.error(`bench: ${error instanceof Error ? (error.stack ?? error.message) : error}`);
  process.exit(1);
}

function count(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new Error(`--${name}: expected a number, got "${text}"`);
  return value;
}
