/** A caddisd reduced to its data path: hook server, router and link of one machine. Started as a process of its own so that it can be killed -9. */
import { HookServer } from '../../../src/daemon/hook-server.ts';
import { GuestLink } from '../../../src/guest/link.ts';
import { startOfStep } from '../../../src/guest/protocol/start-document.ts';
import { SessionRouter } from '../../../src/guest/sessions/router.ts';
import { stepSessionId } from '../../../src/guest/sessions/session-id.ts';
import type { HookCall, StepPlan } from '../../../src/model/job.ts';

const [agentDir, hookPath] = process.argv.slice(2) as [string, string];
const say = (message: Record<string, unknown>) => process.send?.(message);

const link = new GuestLink({ controlPath: `${agentDir}/ctl`, bulkPath: `${agentDir}/bulk` });
const router = new SessionRouter(link, {
  decideRelay: async () => ({ refuse: 'relayed commands are not part of this test', exitCode: 1 }),
});
link.on('up', (generation) => say({ event: 'up', generation }));
link.on('down', (reason) => say({ event: 'down', reason }));
link.on('pressure', (pressure) =>
  say({ event: 'pressure', memAvailableBytes: pressure.memAvailableBytes ?? 0 }),
);
router.on('violation', (text) => say({ event: 'violation', text }));
router.on('exited', (session, status) => say({ event: 'exited', session: String(session), status }));

const server = new HookServer({
  handler: (call, client) => {
    if (call.session !== undefined) router.attach(call.session, client.peer);
    else router.open(stepSessionId('test', call.pid), call.verb, start(call), client.peer);
  },
  rejected: (_socket, reason) => say({ event: 'rejected', reason }),
});

process.on('message', (message: { readonly ask: 'reset' | 'usage' }) => {
  if (message.ask === 'reset') link.reset('the test asked for it');
  else {
    const { rss } = process.memoryUsage();
    say({ event: 'usage', cpuMicroseconds: cpu(), rssBytes: rss });
  }
});
process.on('disconnect', () => process.exit(0));
link.open();
await server.listen({
  path: hookPath,
  owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
});
say({ event: 'listening' });

function cpu(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function start(call: HookCall) {
  const plan: StepPlan = {
    ...{ name: 'test', argv: call.args, program: undefined, pathSearch: true },
    ...{ env: call.env, cwd: call.cwd, carry: [] },
  };
  const identity = {
    ...{ name: 'test', uid: call.uid, gid: call.gid, groups: call.groups },
    ...{ passwd: '', groupLines: [] },
  };
  return startOfStep(plan, call, identity, { cpus: [], files: [], memoryLimit: undefined });
}
