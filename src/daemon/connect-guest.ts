import type { Config } from '../config/schema.ts';
import { enforceCpuLimit } from './accounting/cpu-limit.ts';
import { Guest } from './guest.ts';
import type { Job } from './job.ts';
import { holdSignal } from './moving/hold-signal.ts';
import { guestSample } from './pressure/guest-sample.ts';
import { decideRelay } from './relay.ts';

/** caddisd's side of a job's guest: what the guest says becomes the job's events. `reported`: it has said how its memory and CPUs are. */
export function connectGuest({ policy, storage, vm }: Config, job: Job, reported: () => void): Guest {
  return new Guest({
    control: job.places.control,
    bulk: job.places.bulk,
    log: job.log,
    lostShimGraceMs: policy.lost_shim_grace * 1000,
    silentAfterMs: vm.agent_timeout * 1000,
    decideRelay: (request) => decideRelay(job, storage, request, job.shims.get(request.parent)),
    sayNotStarted: job.scheduler.sayNotStarted,
    isForMainOnly: job.scheduler.isForMainOnly,
    onSignal: (signal) => holdSignal(job, signal),
    stepOpened: () => void job.dispatch({ type: 'step-opened' }),
    stepEnded: (session) => {
      job.forgetStep(session);
      void job.dispatch({ type: 'step-ended' });
    },
    silent: (reason) => void job.dispatch({ type: 'machine-lost', reason }),
    pressure: (pressure) => {
      job.sizes.availableBytes = pressure.memAvailableBytes;
      const sample = guestSample(pressure, performance.now());
      if (sample) {
        job.report = { sample, steps: pressure.sessions, used: pressure.job };
        enforceCpuLimit(job);
      }
      reported();
    },
  });
}
