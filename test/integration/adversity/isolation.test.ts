import { join } from 'node:path';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { Lab, LabHost } from '../../lab/host.ts';
import { on } from '../../lab/process.ts';
import { asUser } from '../support/batch.ts';
import { ending, untilSays, victims } from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { machinesOf, untilNothingLeft } from '../support/leftovers.ts';

describe('a job and those who are not meant to reach it', { timeout: 300_000 }, () => {
  let lab: Lab;
  let node: LabHost;
  beforeAll(async () => {
    lab = await theLab();
    node = lab.nodes[1] as LabHost;
  });
  afterEach(() => untilNothingLeft(lab));

  it('another user opens no socket, log or file of it', async () => {
    const jobs = await victims(lab, node, 'echo begun; until [ -e go ]; do sleep 0.2; done');
    try {
      await untilSays(jobs, 'begun');
      const machines = [...(await machinesOf(node))].filter(([, { job }]) =>
        jobs.some(({ key }) => key === job),
      );
      expect(machines).toHaveLength(2);
      for (const [machine, { job }] of machines) {
        const dir = `/run/caddis/machines/${machine}`;
        const paths = {
          readable: [
            '/run/caddis/machines',
            '/run/caddis/jobs',
            dir,
            `${dir}/qemu`,
            `${dir}/qemu/console`,
            `${dir}/qemu.pid`,
            join(lab.paths.root, 'scratch', node.name, `${machine}.img`),
            join(lab.paths.root, 'scratch', node.name),
            `/var/log/libvirt/qemu/${machine}.log`,
            '/var/log/caddis/caddisd.log',
          ],
          sockets: [
            '/run/caddis/hook.sock',
            `${dir}/step.sock`,
            `/run/caddis/jobs/${job}/step.sock`,
            `${dir}/qemu/ctl`,
            `${dir}/qemu/bulk`,
          ],
        };
        // As bob on the node: what can be opened or connected to is printed.
        const probe = `
import os, socket, sys
for path in ${JSON.stringify(paths.readable)}:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(1)
        print('read', path)
    except OSError: pass
for path in ${JSON.stringify(paths.sockets)}:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        print('connected', path)
    except OSError: pass
print('done')
`;
        const asBob = await asUser(lab, ['python3', '-c', probe], { user: 'bob', host: node.name });
        expect(asBob.stdout).toBe('done\n');
        // The owner reaches the steps' socket and nothing else; root reaches all of it: the probe can see.
        const asAlice = await asUser(lab, ['python3', '-c', probe], { user: 'alice', host: node.name });
        expect(asAlice.stdout).toBe(
          `connected ${dir}/step.sock\nconnected /run/caddis/jobs/${job}/step.sock\ndone\n`,
        );
        expect(await on(node, ['python3', '-c', probe])).toContain(`read ${dir}/qemu/console`);
      }
    } finally {
      for (const { directory } of jobs) await asUser(lab, ['touch', `${directory}/go`]);
      for (const job of jobs) await ending(lab, job);
    }
  });

  it('a shim that is killed takes the processes of its step along within 5 s', async () => {
    const script = `srun sh -c 'sleep 601 & echo begun; sleep 602' &
wait $!
for i in $(seq 50); do pgrep -x sleep > /dev/null || { echo gone; break; }; sleep 0.1; done`;
    const jobs = await victims(lab, node, script, { systems: ['slurm'] });
    await untilSays(jobs, 'begun');
    for (const { id } of jobs) await asUser(lab, ['scancel', '-s', 'KILL', `${id}.0`]);
    for (const job of jobs) expect((await ending(lab, job)).stdout).toBe('begun\ngone\n');
  });
});
