import * as z from 'zod';

import { parseBytes } from '../model/units.ts';
import { growthSchema } from './growth.ts';

/** A size such as "512M", in bytes after parsing. */
const bytes = z.union([z.number().int().nonnegative(), z.string()]).transform((value, context) => {
  if (typeof value === 'number') return value;
  try {
    return parseBytes(value);
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message });
    return z.NEVER;
  }
});
const path = z.string().startsWith('/', 'must be an absolute path');
const seconds = z.number().positive().max(86_400);

const mount = z.strictObject({
  /** File system type for mount(2): nfs4, ceph, tmpfs. */
  type: z.string().regex(/^[a-z0-9]+$/),
  source: z.string().min(1),
  target: path,
  /** `{address}` becomes the machine's own address. */
  options: z.string().default(''),
});

/** caddis.toml. Every field has a default, so that an empty file is a valid configuration. See caddis.toml(5). */
export const configSchema = z.strictObject({
  run_dir: path.default('/run/caddis'),
  state_dir: path.default('/var/lib/caddis'),
  log_level: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
  log_file: path.optional(),

  libvirt: z
    .strictObject({
      uri: z.string().default('qemu:///system'),
      socket: path.default('/run/libvirt/libvirt-sock'),
      /** How nodes reach each other's libvirtd, for machines that move from one to the other; `{host}` becomes the node's name. `none`: they go by the store. */
      peer_uri: z
        .string()
        .regex(
          /^(none|qemu\+(tls|tcp):\/\/\{host\}(:\d+)?\/system)$/,
          'must be like "qemu+tls://{host}/system", or "none"',
        )
        .default('qemu+tls://{host}/system'),
      /** This node's certificate as a client of other nodes' libvirtd, where libvirt itself looks for it. */
      ca_file: path.default('/etc/pki/CA/cacert.pem'),
      cert_file: path.default('/etc/pki/libvirt/clientcert.pem'),
      key_file: path.default('/etc/pki/libvirt/private/clientkey.pem'),
    })
    .prefault({}),

  vm: z
    .strictObject({
      image: z.string().default('default'),
      images_dir: path.default('/var/lib/caddis/images'),
      acceleration: z.enum(['auto', 'kvm', 'tcg']).default('auto'),
      emulator: path.default('/usr/bin/qemu-system-x86_64'),
      machine: z.string().default('q35'),
      /** The user that QEMU runs as: owner of scratch disks. */
      qemu_user: z.string().default('libvirt-qemu'),
      base_memory: bytes.prefault('256M'),
      /** Memory that is never given to guests: what the host itself and QEMU's own overhead need. */
      reserve_memory: bytes.prefault('1G'),
      /** 0 = the node's own number. */
      cpus_max: z.number().int().nonnegative().default(0),
      /** 0 = the node's own memory. */
      memory_max: bytes.prefault(0),
      cpu_quota_percent: z.number().int().min(10).max(100).default(100),
      boot_timeout: seconds.default(60),
      /** Seconds without a sign of life from a guest's agent after which its machine is given up. Under TCG on a busy host many seconds are normal. */
      agent_timeout: seconds.default(90),
      extra_kernel_arguments: z.string().default(''),
    })
    .prefault({}),

  scratch: z
    .strictObject({
      dir: path.default('/var/lib/caddis/scratch'),
      size: bytes.prefault('10G'),
      read_bytes_per_second: bytes.prefault(0),
      write_bytes_per_second: bytes.prefault(0),
    })
    .prefault({}),

  network: z
    .strictObject({
      mode: z.enum(['bridge', 'none']).default('none'),
      bridge: z.string().default('br0'),
      /** First and last address for machines, e.g. "10.77.0.100-10.77.0.199". */
      range: z
        .string()
        .regex(/^\d+\.\d+\.\d+\.\d+-\d+\.\d+\.\d+\.\d+$/)
        .optional(),
      prefix_length: z.number().int().min(8).max(30).default(24),
      gateway: z.string().optional(),
      dns: z.array(z.string()).default([]),
      mtu: z.number().int().min(576).max(65_535).default(1500),
      /** Where addresses are claimed: a directory that all nodes of the site share. */
      claims_dir: path.default('/var/lib/caddis/addresses'),
      inbound_kilobytes_per_second: z.number().int().nonnegative().default(0),
      outbound_kilobytes_per_second: z.number().int().nonnegative().default(0),
    })
    .prefault({}),

  storage: z
    .strictObject({
      /** Seconds for which the file servers keep a silent client's state (NFSv4 lease): a job is not restored from an older state before. */
      lease: seconds.default(90),
      /** Mount the network file systems that this host has mounted. */
      auto: z.boolean().default(true),
      mount: z.array(mount).default([]),
    })
    .prefault({}),

  checkpoint: z
    .strictObject({
      /** A directory that all nodes of the site share. Unset: no checkpoints. */
      dir: path.optional(),
      /** Seconds without a heartbeat after which a node's jobs may be taken over, less a margin. */
      lease: seconds.default(60),
      heartbeat: seconds.default(10),
      /** Generations that are kept of a job. */
      generations: z.number().int().min(1).max(100).default(2),
      /** Of the whole store; 0 = none. */
      quota: bytes.prefault(0),
      /** Seconds for which checkpoints of a job are kept that its scheduler does not know any more and whose last node is gone. */
      retention: z
        .number()
        .positive()
        .max(10 * 365 * 86_400)
        .default(7 * 86_400),
      /** Seconds between two checkpoints of a running job that did not ask for an interval of its own; 0 = none. */
      interval: z
        .number()
        .nonnegative()
        .max(30 * 86_400)
        .default(0),
      /** Seconds that a running job may stand still for a checkpoint; one that would take longer is not taken. */
      max_pause: seconds.default(10),
      /** Seconds for which a saved machine stays in the memory of the node that its job left, for the job's next start to take it from there; 0 = none. */
      park: z.number().nonnegative().max(3600).default(60),
      /** Where an image is written first when its machine waits for it: a file system that is fast to sync. */
      staging_dir: path.default('/dev/shm'),
    })
    .refine(({ lease, heartbeat }) => lease >= 3 * heartbeat, {
      path: ['lease'],
      message: 'must be at least three times the heartbeat',
    })
    .prefault({}),

  suspend: z
    .strictObject({
      /** Seconds after which a suspended machine is written into the store and its memory given back; 0 = never. */
      release_after: z
        .number()
        .nonnegative()
        .max(30 * 86_400)
        .default(0),
      /** Available memory of the host below which suspended machines are released earlier; 0 = never. */
      release_below: bytes.prefault(0),
    })
    .prefault({}),

  time_limit: z
    .strictObject({
      /** Save a job shortly before its time limit, and have it go on under the same id. */
      bridge: z.boolean().default(false),
      /** Seconds that a job may run in all of its runs together. */
      cap: z
        .number()
        .positive()
        .max(10 * 365 * 86_400)
        .optional(),
      /** Seconds before the limit. */
      before: seconds.default(60),
      /** Extend the limit by the time that a job stood still for others, where the scheduler allows it. */
      extend_for_frozen: z.boolean().default(false),
    })
    .refine(({ bridge, cap }) => !bridge || cap !== undefined, {
      path: ['cap'],
      message: 'must be set where time_limit.bridge is true: seconds that a job may run in all',
    })
    .prefault({}),

  policy: z
    .strictObject({
      /** What happens to a job when no machine can be made for it. */
      on_unavailable: z.enum(['requeue', 'native', 'fail']).default('requeue'),
      /** Partitions or queues whose users may say --vm=off. */
      allow_off: z.array(z.string()).default([]),
      /** Partitions or queues whose jobs run without a machine. */
      native: z.array(z.string()).default([]),
      /** Let a requeued job whose state was saved start again at once, where the scheduler would have it wait. */
      restart_at_once: z.boolean().default(true),
      /** What happens to a job that was given devices of the host (GPUs), which no machine has yet. */
      devices: z.enum(['fail', 'native']).default('fail'),
      /** Seconds after which the processes of a step whose shim is gone are killed. */
      lost_shim_grace: seconds.default(3),
    })
    .prefault({}),

  pressure: z
    .strictObject({
      /** Seconds that it takes to get lent memory back: what owners may grow by in that time is not lent. */
      give_back: seconds.max(60).default(10),
      /** Partitions or queues whose jobs run in what others have reserved and leave idle. */
      scavenge: z.array(z.string()).default([]),
      /** Seconds after which a borrower that stands still for owners is saved and sent back to the queue: it may go on elsewhere. */
      evict_after: seconds.default(30),
      /** They may also have what nobody has reserved, until somebody does. */
      lend_unreserved: z.boolean().default(true),
    })
    .prefault({}),

  accounting: z
    .strictObject({
      /** Jobs that have ended on this node, of which a record is kept for "caddis advise"; up to twice as many before the oldest go. */
      keep: z.number().int().min(10).max(1_000_000).default(5_000),
    })
    .prefault({}),

  growth: growthSchema,

  metrics: z
    .strictObject({
      /** Where Prometheus finds the numbers, e.g. "127.0.0.1:9464"; unset: nowhere. */
      listen: z
        .string()
        .regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/, 'must be ADDRESS:PORT')
        .optional(),
    })
    .prefault({}),

  slurm: z
    .strictObject({
      enabled: z.boolean().default(true),
      bin_dir: path.default('/usr/bin'),
      spool_dir: path.default('/var/spool/slurmd'),
      /** NodeName of this host's own node in the scavenge partition, `{host}` for the host's name: "{host}s". Unset: there is one slurmd. */
      scavenge_node: z.string().min(1).optional(),
      /** Seconds between two updates of this node's slack at slurmctld; one that takes slack away comes earlier. */
      publish_interval: seconds.default(60),
      environment: z.record(z.string(), z.string()).default({}),
    })
    .prefault({}),

  gridengine: z
    .strictObject({
      enabled: z.boolean().default(true),
      bin_dir: path.default('/usr/bin'),
      spool_dir: path.default('/var/spool/gridengine/execd'),
      environment: z.record(z.string(), z.string()).default({}),
    })
    .prefault({}),
});

export type Config = z.infer<typeof configSchema>;
