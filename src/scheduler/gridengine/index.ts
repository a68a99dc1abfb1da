import { hostname } from 'node:os';
import { join } from 'node:path';

import type { JobKey, JobRequest } from '../../model/job.ts';
import { writeRefusal } from '../refusal.ts';
import type { RunCommand } from '../run-program.ts';
import { BadHookCall, type HookAnswer, type Scheduler } from '../scheduler.ts';
import { createFindAccount, type FindAccount } from './accounts.ts';
import { askMemory } from './ask-memory.ts';
import { BackOff } from './back-off.ts';
import { createRunCommand } from './commands.ts';
import { complete } from './complete.ts';
import { complexText, setNodeHealth } from './node-health.ts';
import { gridEnginePlacement } from './placement.ts';
import { createPublish } from './publish.ts';
import { parseQstatHosts, parseQstatJob, parseQstatList } from './qstat.ts';
import { holdNext, noteSize, obstacleToRaise, raiseMemory, releaseNext } from './raise.ts';
import { readEpilog } from './read-epilog.ts';
import { readProlog } from './read-prolog.ts';
import { readStep } from './read-step.ts';
import { GRIDENGINE_COMMANDS, gridEngineRelayRule } from './relay.ts';
import { readSpoolConfig } from './spool-config.ts';
import { askLimit } from './time-limit.ts';
import { writeUsage } from './write-usage.ts';

export interface GridEngineOptions {
  /** Directory of qstat, qconf, qmod. */
  readonly binDir: string;
  /** execd_spool_dir; each host has a directory of its own in it. */
  readonly spoolDir: string;
  /** SGE_ROOT, SGE_CELL, ports. */
  readonly environment: Readonly<Record<string, string>>;
  /** caddisd's runtime directory (default /run/caddis): the starter_method reads refusals there. */
  readonly runDir?: string;
  /** Name of this host at the qmaster (default: host name without domain). */
  readonly host?: string;
  /** Our JSV is active, so CADDIS_MEM and CADDIS_TMP cannot come from the user (default true). */
  readonly trustJsv?: boolean;
  /** First wait of a task that is refused (default 2 s). */
  readonly firstBackOffMs?: number;
  readonly run?: RunCommand;
  /** Told of each command that is run. */
  readonly called?: (program: string) => void;
  readonly findAccount?: FindAccount;
}

/** Exit status of a prolog that sends the job back to the queue without putting the queue into E; of a job's script, which asks for the same (sge_conf(5), sge_diagnostics(1)). */
const EXIT_RESCHEDULE = 99;
/** Exit status of a job that puts it, not the queue, into the error state (Eqw). */
const EXIT_JOB_ERROR = 100;

/** Grid Engine behind the Scheduler interface. */
export function createGridEngine(options: GridEngineOptions): Scheduler {
  const host = options.host ?? (hostname().split('.')[0] as string);
  const command = options.run ?? createRunCommand(options.binDir, options.environment);
  const run: RunCommand = (argv, signal) => {
    options.called?.(argv[0] as string);
    return command(argv, signal);
  };
  const findAccount = options.findAccount ?? createFindAccount();
  const trustJsv = options.trustJsv ?? true;
  const runDir = options.runDir ?? '/run/caddis';
  const spoolDirs = ['job_scripts', 'active_jobs'].map((name) => join(options.spoolDir, host, name));
  const backOff = new BackOff(options.firstBackOffMs);
  const fail = async (request: JobRequest, reason: string): Promise<HookAnswer> => {
    await writeRefusal(runDir, request.key, reason);
    return { exitCode: 0 };
  };
  return {
    relayCommands: GRIDENGINE_COMMANDS,
    relayRule: (argv) => gridEngineRelayRule(argv, options.binDir),
    spoolDirs,
    readProlog: (call) => readProlog(call, findAccount, { trustJsv }),
    readEpilog,
    readStep: (call) => readStep(call, findAccount, (dir) => readSpoolConfig(dir, spoolDirs)),
    // What sge_shepherd cannot start natively puts the job into the error state as well, with the reason in "qstat -j" alone.
    sayNotStarted: ({ message }) => ({ message: `caddis: ${message}`, status: EXIT_JOB_ERROR }),
    readFacts() {
      throw new BadHookCall('the verb "facts" is Slurm\'s: Grid Engine has no plugin that could call it');
    },
    complete: (request, { jitterMs, signal }) => complete(request, { jitterMs, signal }, run),
    async refuse(request, reason, signal) {
      // Nobody could go back to the queue with a user who waits at the terminal.
      if (!request.requeueable) return fail(request, reason);
      await backOff.wait(request.key, signal);
      return { exitCode: EXIT_RESCHEDULE };
    },
    async sendBack(request, reason, signal) {
      if (!request.requeueable) return fail(request, reason);
      await noteReason(request.key, reason, run, signal);
      await backOff.wait(request.key, signal);
      return { exitCode: EXIT_RESCHEDULE };
    },
    // Eqw: its user sees the reason in the output file, changes the request, and clears the error (qmod -cj).
    hold: async (_request, reason) => ({ exitCode: EXIT_JOB_ERROR, stderr: `caddis: ${reason}\n` }),
    fail,
    async lost(request, _reason, signal) {
      if (!request.requeueable) return 'failing';
      // -rj takes this very task. For a job with -r n it says "The job 169 is not restartable", and exits 0.
      return run(['qmod', '-rj', taskName(request.key)], signal).then(
        (said) => (/rescheduling/i.test(said) ? 'requeued' : 'failing'),
        () => 'failing' as const,
      );
    },
    writeUsage: (key, run) => writeUsage(join(options.spoolDir, host), key, run),
    askMemory,
    // What its parallel environment is called, the job's user knows.
    askCpus: (cpus) => (cpus > 1 ? `-pe ... ${cpus}` : '(without -pe)'),
    async isRunning(key, signal) {
      try {
        const xml = await run(['qstat', '-xml', '-j', key.jobId], signal);
        if (!parseQstatJob(xml, key.jobId)?.activeTasks.has(key.task)) return false;
        // Its next start may have begun elsewhere. Most jobs are here, and the list of these is short.
        const running = ['qstat', '-xml', '-u', '*', '-g', 't', '-s', 'rs'];
        const task = taskName(key);
        if (parseQstatList(await run([...running, '-q', `*@${host}`], signal)).has(task)) return true;
        const hosts = parseQstatHosts(await run(running, signal)).get(task);
        return hosts === undefined || hosts.size === 0 || hosts.has(host);
      } catch {
        return undefined;
      }
    },
    movedExitStatus: EXIT_RESCHEDULE,
    rerunExitStatus: EXIT_RESCHEDULE,
    requeue: async () => 'by-exit',
    placement: gridEnginePlacement(host, run),
    noteSize: (request, size, signal) => noteSize(request, size, run, signal),
    raise: {
      obstacle: (request, signal) => obstacleToRaise(request, run, signal),
      hold: (request, signal) => holdNext(request, run, signal),
      memory: (request, bytes, signal) => raiseMemory(request, bytes, run, signal),
      release: (request, signal) => releaseNext(request, run, signal),
    },
    // qalter changes no limit of a job that runs; sge_execd counts from the prolog.
    async timeLeft(request, startedAtMs, signal) {
      const limitMs = await askLimit(request, host, run, signal);
      return limitMs === undefined ? undefined : { limitMs, leftMs: startedAtMs + limitMs - Date.now() };
    },
    truncatesOutput: false,
    // Its suspend, resume and migration methods are hooks of ours; qdel's KILL cannot be caught.
    ambiguousSignals: new Set(),
    async meaning({ key }, _number, signal) {
      // Asked of machines that a caddisd finds standing still: -s s lists what is suspended, by whatever means.
      const suspended = parseQstatList(await run(['qstat', '-xml', '-u', '*', '-s', 's'], signal));
      return suspended.has(taskName(key)) ? 'suspended' : 'deliver';
    },
    beginAgain: async () => undefined,
    priority: ({ jobId }, signal) =>
      run(['qstat', '-xml', '-j', jobId], signal).then(
        (xml) => parseQstatJob(xml, jobId)?.priority,
        () => undefined,
      ),
    async isWanted(key, signal) {
      try {
        return parseQstatJob(await run(['qstat', '-xml', '-j', key.jobId], signal), key.jobId) !== undefined;
      } catch {
        return undefined;
      }
    },
    setNodeHealth: (health, signal) => setNodeHealth(host, health, run, signal),
    publish: createPublish(runDir),
  };
}

/** In the job's context (`qstat -j`), which its user reads while it waits. Without an answer it goes back without a word. */
async function noteReason(key: JobKey, reason: string, run: RunCommand, signal: AbortSignal): Promise<void> {
  await run(
    ['qalter', '-ac', `caddis_slack=${complexText(`sent back: ${reason}`)}`, key.jobId],
    signal,
  ).catch(() => undefined);
}

function taskName(key: JobKey): string {
  return `${key.jobId}.${key.task}`;
}
