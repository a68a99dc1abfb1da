import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { type BatchSystem, submit, type Where, waitForEnd } from '../integration/support/batch.ts';
import type { Lab } from '../lab/host.ts';
import { until } from '../lab/process.ts';
import { type BenchOptions, type Figures, onLab } from './bench.ts';
import { tail } from './daemon-log.ts';
import { plainBoot } from './plain-boot.ts';
import { type MachineStart, startsIn } from './start-log.ts';
import { median, medianParts, rounded, spread } from './statistics.ts';

/** All jobs and the plain QEMU run on this node, one after the other. */
const NODE = 'n1';
const JOB_DEADLINE_MS = 110_000;
/** What a base boot may cost over plain QEMU with the same files (issue 2). */
const BOOT_RATIO_AIM = 1.3;

interface Start {
  readonly submitToFirstMs: number;
  readonly parts: Readonly<Record<string, number>>;
}

/**
 * From submit to the first instruction of the script, by the host's clock alone: the script's first command writes a line, and its time is that of the line in the output
 * file on the host (so it has the way back in it, some milliseconds). Native and VM take turns.
 */
export async function start({ runs = 10, say }: BenchOptions): Promise<Figures> {
  return onLab(say, async (lab) => {
    const systems: readonly BatchSystem[] = ['slurm', 'gridengine'];
    const taken: Record<BatchSystem, Record<Where, Start[]>> = {
      slurm: { native: [], vm: [] },
      gridengine: { native: [], vm: [] },
    };
    const plain: number[] = [];
    for (let run = 1; run <= runs; run++) {
      for (const system of systems)
        for (const where of ['native', 'vm'] as const)
          taken[system][where].push(await oneStart(lab, system, where));
      plain.push(await plainBoot(lab, NODE));
      say(
        `${run}/${runs}: slurm ${last(taken.slurm.vm)}, gridengine ${last(taken.gridengine.vm)}, plain QEMU ${plain.at(-1)?.toFixed(0)} ms`,
      );
    }
    const boots = systems.flatMap((system) =>
      taken[system].vm.map(({ parts }) => (parts.define_ms ?? 0) + (parts.boot_ms ?? 0)),
    );
    const ratio = median(boots) / median(plain);
    return {
      boot_path: 'base',
      ...Object.fromEntries(systems.map((system) => [system, figuresOf(taken[system])])),
      base_boot_to_agent: {
        caddis: spread(boots, 'ms'),
        plain_qemu: spread(plain, 'ms'),
        caddis_over_plain_ratio: rounded(ratio),
        aim_ratio: BOOT_RATIO_AIM,
        met: ratio <= BOOT_RATIO_AIM,
      },
    };
  });
}

function last(starts: readonly Start[]): string {
  return `${starts.at(-1)?.submitToFirstMs.toFixed(0)} ms`;
}

function figuresOf(taken: Record<Where, Start[]>): Figures {
  const total = (where: Where) => taken[where].map(({ submitToFirstMs }) => submitToFirstMs);
  return {
    native_submit_to_first_instruction: spread(total('native'), 'ms'),
    vm_submit_to_first_instruction: spread(total('vm'), 'ms'),
    vm_added_ms: rounded(median(total('vm')) - median(total('native'))),
    vm_where_the_time_goes: medianParts(taken.vm.map(({ parts }) => parts)),
  };
}

async function oneStart(lab: Lab, system: BatchSystem, where: Where): Promise<Start> {
  const log = join(lab.paths.logs, `${NODE}-caddisd.log`);
  const logged = (await stat(log)).size;
  const submitted = Date.now();
  const { id, directory } = await submit(lab, system, where, {
    script: '#!/bin/bash\necho first\n',
    options: system === 'slurm' ? ['-w', NODE, '--mem=200M'] : ['-l', `hostname=${NODE}`],
  });
  const output = join(directory, 'out');
  const began = await until(
    `the first line of job ${id} of ${system} (${where})`,
    async () => {
      const { size, mtimeMs } = await stat(output);
      return size > 0 && mtimeMs;
    },
    { timeoutMs: JOB_DEADLINE_MS, everyMs: 100 },
  );
  await waitForEnd(lab, system, id, JOB_DEADLINE_MS);
  const line = await readFile(output, 'utf8');
  if (line !== 'first\n')
    throw new Error(`job ${id} of ${system}: expected "first", got ${JSON.stringify(line)}`);
  const key = system === 'slurm' ? `slurm-${id}` : `gridengine-${id}.1`;
  const machine = startsIn(await tail(log, logged)).get(key);
  if ((machine !== undefined) !== (where === 'vm'))
    throw new Error(`job ${id} of ${system} was to run ${where} and did not: see ${log}`);
  return { submitToFirstMs: began - submitted, parts: machine ? partsOf(machine, submitted, began) : {} };
}

/** The scheduler's own share, each part of the prolog as caddisd measured it, and the first exec. */
function partsOf(machine: MachineStart, submitted: number, began: number): Record<string, number> {
  const prologMs = Object.values(machine.partsMs).reduce((a, b) => a + b, 0);
  return {
    submit_to_prolog_ms: machine.readyAt - prologMs - submitted,
    ...Object.fromEntries(Object.entries(machine.partsMs).map(([name, ms]) => [`${name}_ms`, ms])),
    ready_to_step_ms: machine.stepAt - machine.readyAt,
    first_exec_ms: began - machine.stepAt,
  };
}
