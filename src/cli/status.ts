import type { CommandModule } from 'yargs';

import type { MachineStatus, NodeStatus } from '../model/status.ts';
import { formatBytes } from '../model/units.ts';
import { askDaemon } from './hook.ts';
import { table } from './table.ts';

export const statusCommand: CommandModule<object, { json: boolean }> = {
  command: 'status',
  describe: "this node's machines and how they are",
  builder: (yargs) => yargs.option('json', { type: 'boolean', default: false, describe: 'one JSON object' }),
  handler: async ({ json }) => {
    const text = await askDaemon('status');
    if (json) console.log(text);
    else console.log(render(JSON.parse(text) as NodeStatus));
  },
};

function render(status: NodeStatus): string {
  const head = [
    `${status.host}: ${status.machines.length} ${status.machines.length === 1 ? 'machine' : 'machines'}, libvirt ${status.libvirt}, health ${status.health}`,
    `acceleration ${status.acceleration} (${status.acceleration_reason}); image ${status.image}`,
  ];
  return [
    ...head,
    '',
    table(
      ['job', 'user', 'queue', 'phase', 'steps', 'cpus', 'memory', 'address', 'machine'],
      status.machines.map(row),
    ),
  ].join('\n');
}

function row(machine: MachineStatus): string[] {
  return [
    machine.job,
    machine.user,
    machine.queue,
    phaseOf(machine),
    String(machine.steps),
    machine.cpus === null ? '-' : String(machine.cpus),
    memoryOf(machine),
    machine.address ?? '-',
    machine.machine,
  ];
}

function memoryOf({ memory_bytes: now, memory_asked_bytes: asked }: MachineStatus): string {
  if (now === null) return '-';
  return asked !== null && now > asked
    ? `${formatBytes(now)} (asked ${formatBytes(asked)})`
    : formatBytes(now);
}

/** What a save takes is foretold from what QEMU has resident: it may be more in the end. */
function percent({ done_bytes: done, total_bytes: total }: NonNullable<MachineStatus['progress']>): string {
  return `${total === 0 ? 0 : Math.min(100, Math.floor((100 * done) / total))} %`;
}

function phaseOf({ phase, link, progress }: MachineStatus): string {
  if (progress)
    return `${progress.what} ${percent(progress)}, ${formatBytes(progress.done_bytes)} of ${formatBytes(progress.total_bytes)}`;
  const standsStill = phase === 'frozen' || phase === 'saving' || phase === 'saved' || phase === 'parked';
  return link === 'up' || standsStill ? phase : `${phase} (no agent)`;
}
