import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, symlink } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { HookServer } from '../../src/daemon/hook-server.ts';
import { GuestLink } from '../../src/guest/link.ts';
import { type StartDocument, startOfStep } from '../../src/guest/protocol/start-document.ts';
import type { MovedState } from '../../src/guest/sessions/moved.ts';
import type { RelayDecision, RelayRequest } from '../../src/guest/sessions/relays.ts';
import { SessionRouter } from '../../src/guest/sessions/router.ts';
import { stepSessionId } from '../../src/guest/sessions/session-id.ts';
import type { HookCall } from '../../src/model/job.ts';
import { until } from '../lab/process.ts';
import { AgentProcess } from './support/agent.ts';

const HOOK = fileURLToPath(new URL('../../build/caddis-hook', import.meta.url));
/** The stub that can be told where the agent's socket is: the one of the C tests. */
const STUB = fileURLToPath(new URL('../../build/obj/client-test/caddis-stub', import.meta.url));
const LINES = 500;
const COUNT = `i=1; while [ $i -le ${LINES} ]; do echo $i; i=$((i+1)); sleep 0.01; done`;

/** A host's caddisd, reduced to one machine's sessions. The machine is an agent that is stopped while it "moves". */
class Host {
  readonly link: GuestLink;
  readonly router: SessionRouter;
  readonly asked: RelayRequest[] = [];
  readonly violations: string[] = [];
  readonly #server: HookServer;
  readonly #agent: AgentProcess;
  readonly #from: MovedState | undefined;

  /** `from`: the machine comes from another host. */
  constructor(agent: AgentProcess, from?: MovedState) {
    this.#agent = agent;
    this.#from = from;
    this.link = new GuestLink({ controlPath: `${agent.dir}/ctl`, bulkPath: `${agent.dir}/bulk` });
    this.router = new SessionRouter(this.link, { decideRelay: (request) => this.#decide(request) });
    this.router.on('violation', (text) => this.violations.push(text));
    if (from) this.router.resume(from);
    this.#server = new HookServer({
      handler: (call, { peer }) => this.#step(call, peer),
    });
  }

  async open(): Promise<void> {
    const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
    await this.#server.listen({ path: `${this.#agent.dir}/hook.sock`, owner });
    this.link.open();
    await this.link.ready({ timeoutMs: 20_000 });
  }

  async close(): Promise<void> {
    this.link.close();
    await this.#server.close();
  }

  #step(call: HookCall, peer: Parameters<SessionRouter['attach']>[1]): void {
    const { CADDIS_RELAY: relayed, ...env } = call.env;
    const relay = relayed === undefined ? undefined : BigInt(relayed);
    const name = relay === undefined ? 'batch' : '0';
    if (call.session !== undefined) this.router.attach(call.session, peer, name);
    const known = this.#from?.sessions.find((session) => session.relay === relay);
    if (call.session === undefined && known) this.#resumed(known, peer);
    else if (call.session === undefined) {
      const origin = relay === undefined ? {} : { relay, task: 0 };
      this.router.open(stepSessionId('test', call.pid), name, startOf({ ...call, env }), peer, origin);
    }
  }

  #resumed(known: MovedState['sessions'][number], peer: Parameters<SessionRouter['attach']>[1]): void {
    const [stdout] = known.streams;
    const file =
      stdout.position === undefined
        ? undefined
        : { path: `${this.#agent.dir}/kept`, length: stdout.position };
    this.router.attachResumed(known.session, known.name, peer, [
      { stream: 1, delivered: stdout.delivered, file },
    ]);
  }

  /** `srun`: a program on the host that starts a step in the machine and passes its output on. */
  async #decide(request: RelayRequest): Promise<RelayDecision> {
    this.asked.push(request);
    const srun = `'${HOOK}' --run '${this.#agent.dir}' exec -- sh -c '${COUNT}' | cat`;
    const env = {
      ...{ CADDIS_KEY: 'slurm-1', CADDIS_RELAY: String(request.session) },
      PATH: process.env.PATH ?? '/usr/bin:/bin',
    };
    return { allow: { ...startOf(request.call), argv: ['sh', '-c', srun], program: '/bin/sh', env } };
  }
}

function startOf(call: HookCall): StartDocument {
  const identity = {
    ...{ name: 'test', uid: call.uid, gid: call.gid, groups: call.groups },
    ...{ passwd: '', groupLines: [] },
  };
  const plan = {
    ...{ name: 'test', argv: call.args, program: undefined, pathSearch: true },
    ...{ env: call.env, cwd: '/', carry: [] },
  };
  return startOfStep(plan, call, identity, { cpus: [], files: [], memoryLimit: undefined });
}

let agent: AgentProcess;
let hosts: Host[];
let shims: ChildProcess[];

beforeEach(async () => {
  agent = await AgentProcess.start();
  await mkdir(`${agent.dir}/jobs/slurm-1`, { recursive: true });
  await symlink('../../hook.sock', `${agent.dir}/jobs/slurm-1/step.sock`);
  hosts = [];
  shims = [];
});

afterEach(async () => {
  for (const shim of shims) shim.kill('SIGKILL');
  for (const host of hosts) await host.close();
  await agent?.stop();
});

async function newHost(from?: MovedState): Promise<Host> {
  const host = new Host(agent, from);
  hosts.push(host);
  await host.open();
  return host;
}

/** As slurmstepd starts the batch script: its output goes to a file, which is truncated each time. */
function startBatch(script: string): ChildProcess {
  const command = `exec '${HOOK}' --run '${agent.dir}' exec -- sh -c "$SCRIPT" > '${agent.dir}/out' < /dev/null`;
  const shim = spawn('sh', ['-c', command], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, CADDIS_KEY: 'slurm-1', SCRIPT: script },
  });
  shims.push(shim);
  return shim;
}

async function ended(shim: ChildProcess): Promise<number | null> {
  if (shim.exitCode === null && shim.signalCode === null) await once(shim, 'exit');
  return shim.exitCode;
}

/** Freezes the machine, lets its sessions go, and has them go on in another host's caddisd. */
async function move(from: Host): Promise<{ state: MovedState; to: Host }> {
  process.kill(agent.pid, 'SIGSTOP');
  const state = await from.router.move({ quietMs: 100 });
  from.router.letGo();
  const gone = async () => from.router.sessions().every(({ peerPid }) => peerPid === undefined);
  await until('the shims to leave', gone, { timeoutMs: 5_000 });
  await from.close();
  await rename(`${agent.dir}/out`, `${agent.dir}/kept`);
  process.kill(agent.pid, 'SIGCONT');
  return { state, to: await newHost(state) };
}

const lines = async (name: string) =>
  (await readFile(`${agent.dir}/${name}`, 'utf8').catch(() => '')).split('\n').slice(0, -1);
const numbers = Array.from({ length: LINES }, (_, i) => String(i + 1));

test.skipIf(!existsSync(HOOK))(
  'a step goes on on another host, and its file has every line once',
  async () => {
    let host = await newHost();
    let shim = startBatch(`${COUNT}; exit 5`);
    for (let moves = 1; moves <= 3; moves++) {
      await until('some output', async () => (await lines('out')).length > 100 * moves, {
        timeoutMs: 20_000,
      });
      const { state, to } = await move(host);
      host = to;
      expect(await ended(shim)).toBe(0);
      expect(state.sessions).toMatchObject([{ name: 'batch', phase: 'running' }]);
      expect(state.sessions[0]?.streams[0].position).toBe(state.sessions[0]?.streams[0].delivered);
      shim = startBatch('this is not run: the session goes on');
    }
    expect(await ended(shim)).toBe(5);
    expect(await lines('out')).toEqual(numbers);
    expect(hosts.flatMap(({ violations }) => violations)).toEqual([]);
  },
);

test.skipIf(!existsSync(HOOK) || !existsSync(STUB))(
  'srun inside the job is called again on another host, and its caller gets every line once',
  async () => {
    let host = await newHost();
    const stub = `CADDIS_TEST_RELAY='${agent.dir}/relay.sock' '${STUB}' > '${agent.dir}/srun'; echo "srun $?"`;
    let shim = startBatch(stub);
    for (let moves = 1; moves <= 2; moves++) {
      await until('some output', async () => (await lines('srun')).length > 100 * moves, {
        timeoutMs: 30_000,
      });
      const { state, to } = await move(host);
      host = to;
      expect(await ended(shim)).toBe(0);
      const [{ session: command } = { session: 0n }] = state.relays;
      expect(state.relays).toMatchObject([{ started: true }]);
      expect(state.sessions.map(({ relay }) => relay)).toEqual(expect.arrayContaining([undefined, command]));
      shim = startBatch('this is not run: the session goes on');
    }
    expect(await ended(shim)).toBe(0);
    expect(await lines('srun')).toEqual(numbers);
    expect(await lines('out')).toEqual(['srun 0']);
    expect(hosts.map(({ asked }) => asked.map(({ again }) => again))).toEqual([[false], [true], [true]]);
    expect(hosts.flatMap(({ violations }) => violations)).toEqual([]);
  },
);
