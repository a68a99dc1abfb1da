import { hostname } from 'node:os';

import { formatKey, type JobKey } from '../../model/job.ts';
import { writeRefusal } from '../refusal.ts';
import type { RunCommand } from '../run-program.ts';
import type { Scheduler } from '../scheduler.ts';
import { askMemory } from './ask-memory.ts';
import { isForBatchShell } from './batch-signals.ts';
import { beginAgain } from './begin-again.ts';
import { createRunCommand, SlurmRefused } from './commands.ts';
import { askJob, complete } from './complete.ts';
import { hold } from './hold.ts';
import { isOnOneOf } from './job-record.ts';
import { AMBIGUOUS_SIGNALS, meaning } from './meaning.ts';
import { setNodeHealth } from './node-health.ts';
import { nodesOf } from './nodes.ts';
import { noteSize } from './note-size.ts';
import { slurmPlacement } from './placement.ts';
import { SlackPublisher } from './publish.ts';
import { raiseMemory } from './raise.ts';
import { readEpilog } from './read-epilog.ts';
import { readFacts } from './read-facts.ts';
import { readProlog } from './read-prolog.ts';
import { readStep } from './read-step.ts';
import { refuse } from './refuse.ts';
import { SLURM_COMMANDS, slurmRelayRule } from './relay.ts';
import { reportUsage } from './report-usage.ts';
import { requeue } from './requeue.ts';
import { sendBack } from './send-back.ts';
import { StepdWords } from './stepd-words.ts';
import { withoutProlog } from './without-prolog.ts';

export interface SlurmOptions {
  /** Directory of scontrol, squeue, srun. */
  readonly binDir: string;
  /** SlurmdSpoolDir. */
  readonly spoolDir: string;
  /** SLURM_CONF, where the site's is not /etc/slurm/slurm.conf. */
  readonly environment: Readonly<Record<string, string>>;
  /** caddisd's runtime directory (default /run/caddis): the SPANK plugin reads refusals there. */
  readonly runDir?: string;
  /** Least time between two updates of the node's slack, in milliseconds (default a minute). */
  readonly publishIntervalMs?: number;
  /** NodeName of this host (default: host name without domain). */
  readonly node?: string;
  /** NodeName of its shadow node in the scavenge partition, `{host}` for its own; undefined: there is none. */
  readonly scavengeNode?: string | undefined;
  /** Partitions whose jobs run in what others have reserved. */
  readonly scavengePartitions?: readonly string[];
  readonly run?: RunCommand;
  /** Told of each command that is run. */
  readonly called?: (program: string) => void;
}

/** States of a job that is, or may still be, on its nodes. */
const ON_NODE = /^(RUNNING|SUSPENDED|COMPLETING|CONFIGURING|STOPPED|SIGNALING|STAGE_OUT|RESIZING)/;
/** States of a job that runs or will run, on whatever node. */
const WANTED =
  /^(PENDING|REQUEUED|REQUEUE_|RUNNING|SUSPENDED|COMPLETING|CONFIGURING|STOPPED|SIGNALING|RESIZING|SPECIAL_EXIT)/;

/** A node has far fewer jobs at once; of one that is forgotten slurmctld is asked. */
const MAX_REMEMBERED = 10_000;

/** Slurm behind the Scheduler interface. */
export function createSlurm(options: SlurmOptions): Scheduler {
  const nodes = nodesOf(options.node ?? (hostname().split('.')[0] as string), options.scavengeNode);
  const here = nodes.all;
  const command = options.run ?? createRunCommand(options.binDir, options.environment);
  const run: RunCommand = (argv, signal) => {
    options.called?.(argv[0] as string);
    return command(argv, signal);
  };
  const runDir = options.runDir ?? '/run/caddis';
  const words = new StepdWords(nodes.own, run);
  const slack = new SlackPublisher(nodes.lending, run, options.publishIntervalMs ?? 60_000);
  /** Jobs whose prolog was here, or was made up for, and whose epilog was not. */
  const begun = new Set<string>();
  const begin = (key: JobKey) => {
    if (begun.size >= MAX_REMEMBERED) begun.clear();
    begun.add(formatKey(key));
  };
  return {
    relayCommands: SLURM_COMMANDS,
    relayRule: (argv, env) => slurmRelayRule(argv, env, options.binDir),
    spoolDirs: [options.spoolDir],
    readProlog(call) {
      const request = readProlog(call);
      begin(request.key);
      void words.learn();
      return request;
    },
    readEpilog(call, restartsAtProlog) {
      const end = readEpilog(call, restartsAtProlog);
      begun.delete(formatKey(end.key));
      return end;
    },
    readFacts,
    async withoutProlog(key, said, signal) {
      if (begun.has(formatKey(key))) return undefined;
      const request = await withoutProlog(key, said, here, signal, run);
      begin(key);
      return request;
    },
    readStep: (call) => ({
      ...readStep(call),
      cwdElse: { directory: '/tmp', complaintPrefix: words.errorPrefix(call.env.SLURMD_NODENAME) },
    }),
    sayNotStarted: words.sayNotStarted,
    isForMainOnly: isForBatchShell,
    complete: (request, settings) => {
      const isLent = options.scavengePartitions?.includes(request.queue) ?? false;
      return complete(request, here, { ...settings, isLent }, run);
    },
    refuse: (request, reason, signal) => refuse(request, reason, { runDir, here, run, signal }),
    sendBack: (request, reason, signal) => {
      slack.doubt();
      return sendBack(request, reason, { runDir, here, run, signal });
    },
    hold: (request, reason, signal) => hold(request, reason, { runDir, here, run, signal }),
    async fail(request, reason) {
      await writeRefusal(runDir, request.key, reason);
      return { exitCode: 0 };
    },
    async lost(request, _reason, signal) {
      if (!request.requeueable) return 'failing';
      return requeue(request.key, here, signal, run).then(
        (done) => (done ? 'requeued' : 'failing'),
        () => 'failing',
      );
    },
    reportUsage: (ended, key, signal) => reportUsage(ended, key, run, signal),
    askMemory,
    askCpus: (cpus) => `-c ${cpus}`,
    async isRunning(key, signal) {
      try {
        const record = await askJob(key, here, signal, run);
        return record !== undefined && ON_NODE.test(record.state) && isOnOneOf(record.nodes, here);
      } catch {
        return undefined;
      }
    },
    movedExitStatus: 0,
    async requeue(request, signal) {
      if (await requeue(request.key, here, signal, run)) return 'by-signal';
      throw new SlurmRefused(
        `Slurm does not requeue job ${request.key.jobId}: was it submitted with --no-requeue, or by srun or salloc?`,
      );
    },
    placement: slurmPlacement(nodes, run),
    noteSize: (request, size, signal) => noteSize(request, size, nodes.all, signal, run),
    raise: {
      obstacle: async () => undefined,
      // It waits until its last credential has expired, or until beginAgain.
      hold: async () => undefined,
      release: async () => undefined,
      memory: ({ key }, bytes, signal) => raiseMemory(key, bytes, nodes.all, signal, run),
    },
    async timeLeft(request, _startedAtMs, signal) {
      const record = await askJob(request.key, here, signal, run);
      if (record?.limitMs === undefined || record.ranMs === undefined) return undefined;
      return { limitMs: record.limitMs, leftMs: record.limitMs - record.ranMs };
    },
    async changeLimit(request, minutes, signal) {
      const record = await askJob(request.key, here, signal, run);
      if (!record) return;
      const by = `${minutes < 0 ? '-' : '+'}${Math.abs(minutes)}`;
      await run(['scontrol', 'update', `jobid=${record.taskName}`, `TimeLimit=${by}`], signal);
    },
    truncatesOutput: true,
    ambiguousSignals: AMBIGUOUS_SIGNALS,
    meaning: (request, number, signal) => meaning(request, number, here, signal, run),
    beginAgain: (key, signal) => beginAgain(key, here, signal, run),
    priority: (key, signal) =>
      askJob(key, here, signal, run).then(
        (record) => record?.priority,
        () => undefined,
      ),
    async isWanted(key, signal) {
      try {
        const record = await askJob(key, here, signal, run);
        return record !== undefined && WANTED.test(record.state);
      } catch {
        return undefined;
      }
    },
    setNodeHealth: (health, signal) => setNodeHealth(here, health, run, signal),
    publish: (report, signal) => slack.publish(report, signal),
  };
}
