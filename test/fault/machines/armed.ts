import { startLibvirtd } from '../../lab/libvirt.ts';
import type { CountingJob } from './counting-job.ts';
import { needlesOf } from './job-steps.ts';
import type { Placed } from './placed.ts';
import type { Fired, Rule } from './rules.ts';
import type { Sight } from './sight.ts';
import type { Variant } from './variant.ts';
import type { WatchedHost } from './watched-host.ts';

/** systemd's RestartSec of caddisd.service. */
const BACK_AFTER_MS = 1_000;
const LOOK_EVERY_MS = 10;

/** A variant whose rule a host's caddisd has. */
export interface Armed {
  readonly job: CountingJob;
  readonly variant: Variant;
  readonly rule: Rule;
  readonly host: WatchedHost;
}

let rules = 0;

/** Gives the hosts the rules of the jobs' variants, instead of all earlier ones. */
export async function arm(
  hosts: readonly WatchedHost[],
  placed: readonly Placed[],
  sights: ReadonlyMap<CountingJob, Sight>,
): Promise<Armed[]> {
  const armed = placed.flatMap(({ job, from, to, variant }) => {
    if (!variant) return [];
    const machine = sights.get(job)?.machines.at(-1)?.machine ?? job.key;
    const { point, nth, act, delayMs } = variant;
    const rule: Rule = { id: `${++rules}`, needles: needlesOf(job, [machine]), point, nth, act, delayMs };
    return [{ job, variant, rule, host: variant.side === 'save' ? from : to }];
  });
  for (const host of hosts)
    await host.setRules(armed.filter((one) => one.host === host).map(({ rule }) => rule));
  return armed;
}

/** Waits for one rule, and does what follows from it: who was killed comes back. Undefined when its point was not reached until `signal` aborts. */
export async function watch(armed: Armed, signal: AbortSignal): Promise<Fired | undefined> {
  for (;;) {
    const fired = armed.host.fired().find(({ id }) => id === armed.rule.id);
    if (fired) {
      await follow(armed);
      return fired;
    }
    if (signal.aborted) return undefined;
    await pause(LOOK_EVERY_MS);
  }
}

async function follow({ host, rule, variant, job }: Armed): Promise<void> {
  await host.drop(rule.id);
  const more = await variant.besides?.(host, job);
  switch (rule.act) {
    case 'kill-caddisd':
      await pause(variant.backAfterMs ?? BACK_AFTER_MS);
      await host.restart();
      break;
    case 'kill-libvirtd':
      await pause(variant.backAfterMs ?? BACK_AFTER_MS);
      await startLibvirtd(host.host);
      break;
    case 'hold':
      await host.release(rule.id);
      break;
  }
  await more?.over;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
