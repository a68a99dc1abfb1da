import { XMLParser, XMLValidator } from 'fast-xml-parser';
import * as z from 'zod';

import { escapeXml } from './xml.ts';

export const METADATA_URI = 'https://caddis.invalid/job/1';

const usage = z.object({
  userMs: z.number(),
  systemMs: z.number(),
  heldPeakBytes: z.number(),
  memoryPeakBytes: z.number(),
  hostCpuMs: z.number(),
});

/** Also in checkpoints: what another node reads it with. */
export const machineFacts = z.object({
  version: z.literal(1),
  machine: z.string(),
  key: z.object({ scheduler: z.enum(['slurm', 'gridengine']), jobId: z.string(), task: z.string() }),
  incarnation: z.string(),
  request: z.object({
    restartCount: z.number(),
    user: z.string(),
    uid: z.number(),
    gid: z.number(),
    cpus: z.number().optional(),
    memoryBytes: z.number().optional(),
    memorySource: z.string().optional(),
    scratchBytes: z.number().optional(),
    queue: z.string(),
    vm: z.enum(['on', 'off']).optional(),
    checkpointMs: z.number().optional(),
    hosts: z.number().default(1),
    requeueable: z.boolean(),
    cpuLimits: z.object({ softMs: z.number().optional(), hardMs: z.number().optional() }).optional(),
    jobName: z.string(),
    workDir: z.string(),
  }),
  image: z.string(),
  acceleration: z.enum(['kvm', 'tcg']),
  address: z.string().optional(),
  mac: z.string().optional(),
  tap: z.string().optional(),
  scratch: z.string().optional(),
  /** Directories of the node that are in the domain's XML: another node may have them elsewhere. */
  imageDirectory: z.string().optional(),
  runDir: z.string().optional(),
  /** Number of the checkpoint from which this machine goes on. */
  restoredFrom: z.number().optional(),
  /** The scheduler was told to start the job on this host alone (`caddis migrate --to`); `before`: what it had been told until then. */
  bound: z.object({ host: z.string(), before: z.string() }).optional(),
  /** What became of its size beside its request. */
  growth: z
    .object({
      /** What the machine was grown to; absent: it has what was asked for. */
      memoryBytes: z.number().optional(),
      cpus: z.number().optional(),
      /** What its user asked for, before anything was asked for in the job's name. */
      askedBytes: z.number().optional(),
      /** What was asked for in the job's name, or will be when it waits. */
      raisedBytes: z.number().optional(),
      /** How often it was put back into the queue for more. */
      requeues: z.number().default(0),
    })
    .optional(),
  startedAt: z.string(),
  /** For how long the job had run before this start, in milliseconds. */
  ranBeforeMs: z.number().optional(),
  /** What it had used, on all nodes: when the checkpoint was taken that these facts are in, and from which this machine was made. */
  used: usage.optional(),
  /** The same when this run began. */
  usedBefore: usage.optional(),
  /** CPU time of QEMU before the job's first step, in milliseconds: the boot is not the job's. */
  bootCpuMs: z.number().optional(),
  /** CPU time of the QEMU processes that its machine was before this one. */
  hostCpuBeforeMs: z.number().optional(),
  /** Of a machine that is about to go on from a checkpoint: what is left to do is for whoever finds it so. `dropCaches`: files may have changed since it was saved. */
  waking: z.object({ dropCaches: z.boolean() }).optional(),
  /** True once the prolog has answered, or the machine is about to go on: one without it was being made when caddisd died. */
  ready: z.boolean(),
});

/** The facts of a job as they sit in its domain's <metadata>: what a restarted caddisd builds its job table from. */
export type MachineFacts = z.infer<typeof machineFacts>;

/** The metadata element for the domain XML. JSON inside: the reader is ourselves. */
export function metadataXml(machine: MachineFacts): string {
  return `<caddis:job xmlns:caddis='${METADATA_URI}'>${escapeXml(JSON.stringify(machine))}</caddis:job>`;
}

/** A saved machine's XML with other facts: those that it was saved with say that it is ready, and belong to an incarnation that is over. */
export function withFacts(xml: string, machine: MachineFacts): string {
  return xml.replace(/<caddis:job\b[\s\S]*?<\/caddis:job>/, () => metadataXml(machine));
}

/** The same for virDomainSetMetadata, which puts the namespace in itself and refuses one that is there. */
export function bareMetadataXml(machine: MachineFacts): string {
  return `<job>${escapeXml(JSON.stringify(machine))}</job>`;
}

const parser = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  processEntities: true,
  htmlEntities: true, // numeric entities: escapeXml writes no others
  trimValues: true,
});

/** Reads the element back. Undefined when it is not ours or not understood. */
export function parseMetadata(xml: string): MachineFacts | undefined {
  if (XMLValidator.validate(xml) !== true) return undefined;
  const root = parser.parse(xml) as Record<string, unknown>;
  const text = Object.entries(root).find(([name]) => name === 'job' || name.endsWith(':job'))?.[1];
  if (typeof text !== 'string') return undefined;
  try {
    const result = machineFacts.safeParse(JSON.parse(text));
    return result.success ? result.data : undefined;
  } catch {
    return undefined;
  }
}
