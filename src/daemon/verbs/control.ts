import { CaddisError } from '../../model/errors.ts';
import type { HookAnswer } from '../../scheduler/scheduler.ts';
import { whyNotSaved } from '../freeze.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';

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
      refuseUnsavable(node, job);
      await job.dispatch({ type: 'move' });
      break;
  }
  return { exitCode: 0 };
}

function refuseUnsavable(node: Node, job: Job): void {
  const obstacle = whyNotSaved(node, job);
  if (obstacle !== undefined) throw new CaddisError(`this job cannot be moved with its state: ${obstacle}`);
}
