import type { StartDocument } from '../../guest/protocol/start-document.ts';
import { startOfStep } from '../../guest/protocol/start-document.ts';
import { stepSessionId } from '../../guest/sessions/session-id.ts';
import { CaddisError } from '../../model/errors.ts';
import type { Identity } from '../../model/identity.ts';
import type { HookCall, StepPlan } from '../../model/job.ts';
import type { HookClient } from '../hook-server.ts';
import type { Job } from '../job.ts';
import { readCarried, vcpusOf } from '../step-open.ts';

/** A step: started in the job's machine, or attached to again by a shim that lost its connection. */
export async function exec(job: Job, call: HookCall, client: HookClient): Promise<void> {
  const guest = job.resources.guest;
  if (!guest) throw new CaddisError('the job has no machine any more');
  if (call.session !== undefined) {
    job.shims.set(call.session, call);
    guest.attachStep(call.session, job.scheduler.readStep(call).name, client.peer);
    return;
  }
  const plan = inGuestDirectory(job.scheduler.readStep(call));
  const files = await readCarried(plan, job.scheduler.spoolDirs, job.identity);
  const id = stepSessionId(job.machine, call.pid);
  if (plan.name === 'batch' && call.cpus.length > 0) job.hostCpus ??= call.cpus;
  job.shims.set(id, call);
  guest.openStep(id, plan.name, stepStart(job, plan, call, job.identity, files), client.peer);
  job.log.debug(`step ${plan.name} is session ${id}`, { pid: call.pid });
}

/** A shell for the admin or the job's owner, beside whatever runs. */
export function shell(job: Job, call: HookCall, client: HookClient, identity: Identity): void {
  const guest = job.resources.guest;
  if (!guest) throw new CaddisError('the job has no machine any more');
  if (call.session !== undefined) {
    guest.attachStep(call.session, 'shell', client.peer);
    return;
  }
  const [, ...command] = call.args;
  const terminal = call.env.TERM === undefined ? {} : { TERM: call.env.TERM };
  const home = identity.passwd.split(':')[5] ?? '/';
  const plan: StepPlan = {
    name: 'shell',
    argv: command.length > 0 ? command : ['-bash'],
    program: command.length > 0 ? undefined : '/bin/bash',
    pathSearch: true,
    env: {
      ...terminal,
      HOME: identity.uid === 0 ? '/root' : home,
      USER: identity.name,
      LOGNAME: identity.name,
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    },
    cwd: identity.uid === 0 ? '/root' : home,
    carry: [],
  };
  guest.openStep(
    stepSessionId(job.machine, call.pid),
    plan.name,
    stepStart(job, plan, call, identity, []),
    client.peer,
  );
}

/** A step that was launched from a directory which only the guest has: relay.ts leaves it in the environment. */
function inGuestDirectory(plan: StepPlan): StepPlan {
  const { CADDIS_CWD, ...env } = plan.env;
  return CADDIS_CWD === undefined ? plan : { ...plan, env, cwd: CADDIS_CWD };
}

function stepStart(
  job: Job,
  plan: StepPlan,
  call: HookCall,
  identity: Identity,
  files: StartDocument['files'],
): StartDocument {
  const { memoryBytes, cpus = 1 } = job.sizes;
  const source = job.facts.request.memorySource ?? 'the memory request';
  return startOfStep(plan, call, identity, {
    cpus: vcpusOf(call, { hostCpus: job.hostCpus, vcpus: cpus }),
    files,
    memoryLimit: memoryBytes === undefined ? undefined : { bytes: memoryBytes, source },
  });
}
