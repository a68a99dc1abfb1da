import { randomBytes } from 'node:crypto';

import type { Lab } from '../lab/host.ts';
import type { BenchOptions, Figures } from './bench.ts';
import { bash, throughHook } from './on-node.ts';
import { produce, withRawPort } from './raw-port.ts';
import { median, rounded } from './statistics.ts';

/** Each direction and path is measured this often, in turns. */
const ROUNDS = 3;
/** What the whole path should reach of the raw virtio-serial port (issue 2). */
const RATIO_AIM = 0.5;

/**
 * stdout and stdin through the whole path (process in the guest, caddis-init, virtio-serial, caddisd, caddis-hook, descriptor), beside a virtio-serial port of its own that is
 * plugged into the same machine and used without any protocol. MB = 1,000,000 bytes.
 */
export async function throughput(
  lab: Lab,
  { node, job, megabytes, say }: { node: string; job: string; megabytes: number; say: BenchOptions['say'] },
): Promise<Figures> {
  const bytes = megabytes * 1_000_000;
  const paths: Record<string, () => Promise<number>> = {};
  const file = `/tmp/caddis-bench-${randomBytes(4).toString('hex')}`;
  const out = throughHook(job, produce(bytes).split(' ')).join(' ');
  const into = throughHook(job, ['dd', 'of=/dev/null', 'bs=128k', 'status=none']).join(' ');
  paths.stdout_to_null = () => timed(lab, node, `${out} >/dev/null`);
  paths.stdout_to_file = () => timed(lab, node, `${out} >${file}; [ $(stat -c %s ${file}) = ${bytes} ]`);
  paths.stdin = () => timed(lab, node, `head -c ${bytes} /dev/zero | ${into}`);
  try {
    return await withRawPort(lab, { node, job }, async (port) => {
      paths.raw_out = () => port.receive(bytes);
      paths.raw_out_piped = () => port.receivePiped(bytes);
      paths.raw_in = () => port.send(bytes);
      const taken: Record<string, number[]> = {};
      for (let round = 1; round <= ROUNDS; round++)
        for (const [name, run] of Object.entries(paths)) {
          const seconds = await run();
          const values = taken[name] ?? [];
          taken[name] = values;
          values.push(bytes / 1e6 / seconds);
          say(`${round}/${ROUNDS} ${name} ${rounded(values.at(-1) as number)} MB/s`);
        }
      const rate = (name: string) => median(taken[name] ?? []);
      const outRatio = rate('stdout_to_null') / rate('raw_out');
      const inRatio = rate('stdin') / rate('raw_in');
      return {
        megabytes,
        ...Object.fromEntries(Object.keys(paths).map((name) => [`${name}_mb_per_s`, rounded(rate(name))])),
        stdout_over_raw_ratio: rounded(outRatio),
        stdout_over_raw_piped_ratio: rounded(rate('stdout_to_null') / rate('raw_out_piped')),
        stdin_over_raw_ratio: rounded(inRatio),
        aim_ratio: RATIO_AIM,
        met: outRatio >= RATIO_AIM && inRatio >= RATIO_AIM,
      };
    });
  } finally {
    await bash(lab, { host: node, script: `rm -f ${file}` });
  }
}

/** Seconds that a pipeline takes on the node. */
async function timed(lab: Lab, host: string, command: string): Promise<number> {
  const script = `set -e -o pipefail; b=$EPOCHREALTIME; ${command}; e=$EPOCHREALTIME; echo $((\${e/./} - \${b/./}))`;
  return Number(await bash(lab, { host, script })) / 1e6;
}
