import type { Lab } from '../lab/host.ts';
import type { Figures } from './bench.ts';
import { bash, throughHook } from './on-node.ts';
import { median, rounded, spread } from './statistics.ts';

/** What a step may cost over native, without the guest's own fork and exec (issue 2). */
const OVERHEAD_AIM_MS = 10;

/**
 * Added latency of a step: `srun true` in two allocations on the same node, in turns, and the same through `caddis-hook exec` alone (a second command in a running machine).
 * What fork and exec of `true` cost in the guest, measured in the same run, is the machine's own slowness and is taken off.
 */
export async function stepLatency(
  lab: Lab,
  { node, native, vm, runs }: { node: string; native: string; vm: string; runs: number },
): Promise<Figures> {
  const srun = await inTurns(lab, 'head', runs, [`srun --jobid=${native} true`, `srun --jobid=${vm} true`]);
  const hook = await inTurns(lab, node, runs, ['/bin/true', throughHook(vm, ['/bin/true']).join(' ')]);
  const forkNative = (await inTurns(lab, node, runs, ['/bin/true']))[0] as number[];
  const forkGuest = await guestForkExec(lab, { node, vm, runs });
  const fork = median(forkGuest) - median(forkNative);
  const added = ([without, through]: readonly number[][]) =>
    median(through as number[]) - median(without as number[]);
  const srunOver = added(srun) - fork;
  const hookOver = added(hook) - fork;
  return {
    srun_true_native: spread(srun[0] as number[], 'ms'),
    srun_true_vm: spread(srun[1] as number[], 'ms'),
    srun_true_added_ms: rounded(added(srun)),
    caddis_hook_true: spread(hook[1] as number[], 'ms'),
    caddis_hook_added_ms: rounded(added(hook)),
    guest_fork_exec: spread(forkGuest, 'ms'),
    native_fork_exec: spread(forkNative, 'ms'),
    srun_overhead_without_guest_fork_exec_ms: rounded(srunOver),
    caddis_hook_overhead_without_guest_fork_exec_ms: rounded(hookOver),
    aim_ms: OVERHEAD_AIM_MS,
    met: srunOver <= OVERHEAD_AIM_MS && hookOver <= OVERHEAD_AIM_MS,
  };
}

/** Milliseconds of each command, measured in turns by one bash on the host. The first round warms up and does not count. */
async function inTurns(
  lab: Lab,
  host: string,
  runs: number,
  commands: readonly string[],
): Promise<number[][]> {
  const script = `set -e
for run in $(seq 0 ${runs}); do
${commands.map((command, i) => `b=$EPOCHREALTIME; ${command}; e=$EPOCHREALTIME; echo ${i} $((\${e/./} - \${b/./}))`).join('\n')}
done`;
  return parsed(await bash(lab, { host, script }), commands.length);
}

/** The same loop inside the guest. */
async function guestForkExec(
  lab: Lab,
  { node, vm, runs }: { node: string; vm: string; runs: number },
): Promise<number[]> {
  const loop = `for run in $(seq 0 ${runs}); do b=$EPOCHREALTIME; /bin/true; e=$EPOCHREALTIME; echo 0 $((\${e/./} - \${b/./})); done`;
  const command = throughHook(vm, ['bash', '-c', `'${loop}'`]).join(' ');
  const stdout = await bash(lab, { host: node, script: command });
  return parsed(stdout, 1)[0] as number[];
}

function parsed(text: string, commands: number): number[][] {
  const taken: number[][] = Array.from({ length: commands }, () => []);
  for (const [, command, microseconds] of text.matchAll(/^(\d+) (\d+)$/gm))
    taken[Number(command)]?.push(Number(microseconds) / 1000);
  return taken.map((values) => values.slice(1));
}
