import type { HookAnswer } from '../../scheduler/scheduler.ts';
import type { Job } from '../job.ts';
import { noteMove } from '../moving/intents.ts';
import { snapshot } from '../moving/snapshot.ts';
import type { Node } from '../node.ts';
import { refuseUnsavable } from './refuse-unsavable.ts';

/** Exit status of `migrate` in a job's own name: it cannot be moved with its state, and starts afresh (hooks/gridengine/control.sh). */
export const EXIT_UNSAVABLE = 3;

export type ControlVerb = 'suspend' | 'resume' | 'migrate';

export function isControlVerb(verb: string): verb is ControlVerb {
  return verb === 'suspend' || verb === 'resume' || verb === 'migrate';
}

/** What a scheduler's own methods ask of a job's machine. Answers when it is done; for `migrate`, when the machine is saved and the job's steps have ended. */
export async function control(node: Node, job: Job, verb: ControlVerb): Promise<HookAnswer> {
  switch (verb) {
    case 'suspend':
      await job.dispatch({ type: 'suspend' });
      break;
    case 'resume':
      await job.dispatch({ type: 'resume' });
      break;
    case 'migrate':
      await beginMove(node, job);
      await job.dispatch({ type: 'move' });
      break;
  }
  return { exitCode: 0 };
}

/** What must be certain before a scheduler's migration method is answered: a caddisd that is killed behind it moves the machine all the same. Throws when it cannot be moved. */
export async function beginMove(node: Node, job: Job): Promise<void> {
  refuseUnsavable(node, job);
  await noteMove(node.config.state_dir, job.machine);
}

/** A checkpoint of a job that goes on running. */
export async function checkpoint(node: Node, job: Job): Promise<HookAnswer> {
  refuseUnsavable(node, job);
  await snapshot(node, job, 'admin');
  return { exitCode: 0 };
}
