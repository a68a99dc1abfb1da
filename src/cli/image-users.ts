import { nodeIo } from '../checkpoint/node-io.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import { loadConfig } from '../config/load.ts';
import { messageOf } from '../model/errors.ts';
import { formatKey } from '../model/job.ts';
import type { NodeStatus } from '../model/status.ts';
import { askDaemon } from './hook.ts';

/**
 * Machines of this node, and checkpoints of the site, that could not go on without an image. What cannot be asked is said on stderr: an image may have to go from a node whose caddisd or store is
 * away.
 */
export async function imageUsers(id: string): Promise<string[]> {
  const parts = await Promise.all([
    machinesWith(id).catch(said('machines of this node')),
    checkpointsWith(id).catch(said('checkpoints')),
  ]);
  return parts.flat();
}

async function machinesWith(id: string): Promise<string[]> {
  const { machines, image } = JSON.parse(await askDaemon('status')) as NodeStatus;
  const users = machines.filter((machine) => machine.image === id).map(({ job }) => job);
  return image === id ? [...users, 'caddisd, for the next job (vm.image)'] : users;
}

async function checkpointsWith(id: string): Promise<string[]> {
  const { dir } = loadConfig().checkpoint;
  if (dir === undefined) return [];
  const found = await new CheckpointStore({ dir, io: nodeIo() }).list();
  return found.flatMap((one) =>
    one.state === 'complete' && one.manifest.image === id
      ? [`checkpoint ${formatKey(one.key)}/${one.number}`]
      : [],
  );
}

function said(what: string): (error: unknown) => string[] {
  return (error) => {
    console.error(`caddis: whether ${what} need it is not known: ${messageOf(error)}`);
    return [];
  };
}
