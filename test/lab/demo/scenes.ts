import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { asUser, type BatchSystem, runBatch, submit, waitForEnd } from '../../integration/support/batch.ts';
import { atTerminal } from '../../integration/support/terminal.ts';
import { hookClient } from '../caddisd.ts';
import type { Lab } from '../host.ts';
import { on, until } from '../process.ts';
import type { Timeline } from './timeline.ts';

export const TITLE: Record<BatchSystem, string> = { slurm: 'Slurm', gridengine: 'Grid Engine' };
const SUBMIT: Record<BatchSystem, string> = { slurm: 'sbatch', gridengine: 'qsub' };
const memory = (system: BatchSystem, mebibytes: number) =>
  system === 'slurm' ? [`--mem=${mebibytes}M`] : ['-l', `h_vmem=${mebibytes}M`];

/** An unchanged script says where it woke up. */
export async function hello(lab: Lab, system: BatchSystem, timeline: Timeline): Promise<void> {
  timeline.happened(`alice: ${SUBMIT[system]} hello.sh`);
  const script = [
    '#!/bin/bash',
    'echo "kernel   $(uname -r), up $(cut -d" " -f1 /proc/uptime) s"',
    'echo "pid 1    $(cat /proc/1/comm)"',
    'echo "host     $(hostname), $(nproc) CPU, $(free -m | awk \'/Mem:/ { print $7 }\') MiB available"',
    'echo "user     $(id -un) in $PWD"',
    'exit 7',
  ].join('\n');
  const options = memory(system, 256);
  const result = await runBatch(lab, system, 'vm', { script, options, timeoutMs: 120_000 });
  timeline.output(result.stdout);
  const host = (await readFile('/proc/sys/kernel/osrelease', 'utf8')).trim();
  timeline.claim(
    /pid 1 +caddis-init/.test(result.stdout),
    'it ran in a machine of its own: PID 1 is caddis-init',
  );
  timeline.claim(!result.stdout.includes(host), `its kernel is not the node's (${host})`);
  timeline.claim(result.exitCode === 7, `the scheduler saw its exit status ${result.exitCode}`);
}

/** Four tasks, four machines at the same time. */
export async function array(lab: Lab, system: BatchSystem, timeline: Timeline): Promise<void> {
  timeline.happened(`alice: ${SUBMIT[system]} ${system === 'slurm' ? '--array=1-4' : '-t 1-4'} array.sh`);
  const task = system === 'slurm' ? 'SLURM_ARRAY_TASK_ID' : 'SGE_TASK_ID';
  const file = `task.$${task}`;
  // Each waits until it sees all four: only tasks that run at the same time can.
  const script = [
    '#!/bin/bash',
    `cat /proc/sys/kernel/random/boot_id > ${file}`,
    'for i in $(seq 600); do ls > /dev/null; [ -e task.1 -a -e task.2 -a -e task.3 -a -e task.4 ] && break; sleep 0.2; done',
    `[ -e task.1 -a -e task.2 -a -e task.3 -a -e task.4 ] && echo together >> ${file}`,
  ].join('\n');
  const options = [...(system === 'slurm' ? ['--array=1-4'] : ['-t', '1-4']), ...memory(system, 128)];
  const { id, directory } = await submit(lab, system, 'vm', { script, options });
  await waitForEnd(lab, system, id, 240_000);
  const tasks = await Promise.all(
    [1, 2, 3, 4].map((n) => readFile(join(directory, `task.${n}`), 'utf8').catch(() => '')),
  );
  const boots = new Set(tasks.map((text) => text.split('\n')[0]).filter(Boolean));
  timeline.claim(boots.size === 4, `four tasks, ${boots.size} machines (boot ids differ)`);
  timeline.claim(
    tasks.every((text) => text.includes('together')),
    'all four ran at the same time',
  );
}

/** A job that outgrows its request meets its own wall; its neighbour on the same node does not notice. */
export async function wall(lab: Lab, system: BatchSystem, timeline: Timeline): Promise<void> {
  const node = system === 'slurm' ? ['-w', 'n1'] : ['-l', 'hostname=n1'];
  const count =
    '#!/bin/bash\nfor i in $(seq 200); do echo "$i $(date +%s.%N)" >> count; [ -e stop ] && break; sleep 0.2; done\n';
  const neighbour = await submit(lab, system, 'vm', {
    script: count,
    options: [...memory(system, 128), ...node],
  });
  await until('the neighbour to count', async () => (await lines(neighbour.directory)).length > 3, {
    timeoutMs: 120_000,
  });
  timeline.happened(`a neighbour counts on n1 (job ${neighbour.id})`);
  timeline.happened(
    `alice: ${SUBMIT[system]} ${memory(system, 256).join(' ')} hog.sh  (it takes all it can get)`,
  );
  const hog =
    "#!/bin/bash\npython3 -c '\nheld = []\nwhile True:\n    held.append(bytearray(8 << 20))\n'\nexit $?\n";
  const result = await runBatch(lab, system, 'vm', {
    script: hog,
    options: [...memory(system, 256), ...node],
    timeoutMs: 120_000,
  });
  timeline.output(result.stderr);
  timeline.claim(
    result.exitCode === 137,
    `the hog was killed in its own machine (exit status ${result.exitCode})`,
  );
  const seen = await lines(neighbour.directory);
  await asUser(lab, [system === 'slurm' ? 'scancel' : 'qdel', neighbour.id]);
  await waitForEnd(lab, system, neighbour.id, 120_000);
  const times = seen.map((line) => Number(line.split(' ')[1]));
  const gap = Math.max(...times.slice(1).map((time, i) => time - (times[i] as number)));
  timeline.claim(
    times.length > 3 && gap < 5,
    `the neighbour counted on; its longest pause was ${gap.toFixed(1)} s`,
  );
}

/** A job counts on one host, its scheduler takes it off, and it counts on at the next number on the other. */
export async function move(lab: Lab, system: BatchSystem, timeline: Timeline): Promise<void> {
  const [one, two] = lab.nodes;
  if (!one || !two) throw new Error('the lab has fewer than two nodes');
  // Grid Engine's start goes to the host that is left open: "hostname" would bind it.
  const queue = system === 'slurm' ? 'main' : 'move.q';
  if (system === 'gridengine') await asUser(lab, ['qmod', '-d', `${queue}@${two.name}`], { user: 'root' });
  timeline.happened(`alice: ${SUBMIT[system]} count.sh  (a number each second, kept in the shell's memory)`);
  const count =
    '#!/bin/bash\nfor i in $(seq 12); do echo "count $i, awake for $((SECONDS)) s"; sleep 1; done\n';
  const options = [...memory(system, 128), ...(system === 'slurm' ? ['-w', one.name] : [])];
  const { id, directory } = await submit(lab, system, 'vm', { script: count, options, queue });
  const out = () => readFile(join(directory, 'out'), 'utf8').catch(() => '');
  const counted = async () => (await out()).trim().split('\n').filter(Boolean).length;
  await until('the job to count', async () => (await counted()) >= 4, { timeoutMs: 120_000 });
  const before = await counted();
  timeline.happened(`it counts on ${one.name}`);
  if (system === 'slurm') {
    timeline.happened(`root: scontrol requeue ${id}; scontrol update jobid=${id} reqnodelist=${two.name}`);
    await asUser(lab, ['scontrol', 'requeue', id], { user: 'root' });
    await until(
      'the job to be back in the queue',
      async () => (await asUser(lab, ['squeue', '-h', '-j', id, '-o', '%T'])).stdout.trim() === 'PENDING',
      { timeoutMs: 120_000 },
    );
    await asUser(lab, ['scontrol', 'update', `jobid=${id}`, `reqnodelist=${two.name}`], { user: 'root' });
  } else {
    timeline.happened(`root: qmod -d ${queue}@${one.name}; qmod -sj ${id}`);
    await asUser(lab, ['qmod', '-e', `${queue}@${two.name}`], { user: 'root' });
    await asUser(lab, ['qmod', '-d', `${queue}@${one.name}`], { user: 'root' });
    await asUser(lab, ['qmod', '-sj', id], { user: 'root' });
  }
  const key = system === 'slurm' ? `slurm-${id}` : `gridengine-${id}.1`;
  await until(
    `the job to be on ${two.name}`,
    async () => (await on(two, [hookClient, 'status'], { timeoutMs: 20_000 })).includes(key),
    { timeoutMs: 120_000 },
  );
  timeline.happened(`it is on ${two.name}`);
  const { exitCode } = await waitForEnd(lab, system, id, 120_000);
  if (system === 'gridengine') await asUser(lab, ['qmod', '-e', `${queue}@${one.name}`], { user: 'root' });
  const lines = (await out()).trim().split('\n');
  timeline.output(
    lines.map((line, i) => (i === before ? `${line}   <- from here on ${two.name}` : line)).join('\n'),
  );
  timeline.claim(
    lines.length === 12 && lines.every((line, i) => line.startsWith(`count ${i + 1},`)) && exitCode === 0,
    'every number is there once, in order: it went on at the instruction where it stood',
  );
}

/** A terminal into a machine, as a user gets it. */
export async function terminal(lab: Lab, system: BatchSystem, timeline: Timeline): Promise<void> {
  const command =
    system === 'slurm'
      ? 'srun --mem=128M --pty bash -i'
      : 'qrsh -now no -l h_vmem=128M -q all.q -pty y bash -i';
  timeline.happened(`alice: ${command}`);
  const shown = await atTerminal(lab, command, [
    { after: /[$#] $/, text: 'tty; echo "pid 1 is $(cat /proc/1/comm)"\n' },
    { after: /pid 1 is \S+\s[\s\S]*[$#] $/, text: 'exit 5\n' },
  ]);
  timeline.output(shown);
  timeline.claim(/\/dev\/pts\/\d+/.test(shown), 'the shell has a terminal');
  timeline.claim(shown.includes('pid 1 is caddis-init'), 'and it is inside the machine');
}

async function lines(directory: string): Promise<string[]> {
  return (await readFile(join(directory, 'count'), 'utf8').catch(() => ''))
    .trim()
    .split('\n')
    .filter(Boolean);
}
