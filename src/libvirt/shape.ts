import { type Domain, encodeDomain } from './domain.ts';
import { modify } from './flags.ts';
import { decodeParams, encodeParams, type ParamValues, paramsFrom } from './params.ts';
import { type Procedure, remote } from './procedures.ts';
import type { CallOptions, Rpc } from './rpc.ts';
import {
  type BlkioTuning,
  type BlockIoTuning,
  blkioParams,
  blockIoTuneParams,
  type InterfaceTuning,
  interfaceParams,
  type MemoryTuning,
  memoryParams,
  type SchedulerTuning,
  schedulerParams,
} from './tuning.ts';
import { Encoder } from './xdr.ts';

/** The calls that change a machine's size, devices and limits: one half of Libvirt, apart only to keep the files short. */
export class ShapeCalls<Connected extends Rpc> {
  /** For events, closing and state of the connection. */
  readonly rpc: Connected;

  constructor(rpc: Connected) {
    this.rpc = rpc;
  }

  /** Flags: vcpuFlags. */
  setVcpus(domain: Domain, vcpus: number, flags: number = modify.live, options?: CallOptions): Promise<void> {
    return this.run(remote.domainSetVcpusFlags, on(domain).u32(vcpus).u32(flags), options);
  }

  getVcpus(domain: Domain, flags: number = modify.live, options?: CallOptions): Promise<number> {
    return this.rpc.call(remote.domainGetVcpusFlags, on(domain).u32(flags), (from) => from.i32(), options);
  }

  /** Sets the balloon's target. */
  setMemory(domain: Domain, kib: number, flags: number = modify.live, options?: CallOptions): Promise<void> {
    return this.run(remote.domainSetMemoryFlags, on(domain).u64(kib).u32(flags), options);
  }

  /** How often the balloon driver reports; 0 stops it. */
  setMemoryStatsPeriod(
    domain: Domain,
    seconds: number,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    return this.run(remote.domainSetMemoryStatsPeriod, on(domain).i32(seconds).u32(flags), options);
  }

  /** Pins one vCPU's thread to host CPUs. */
  pinVcpu(
    domain: Domain,
    vcpu: number,
    cpus: readonly number[],
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    return this.run(remote.domainPinVcpuFlags, on(domain).u32(vcpu).opaque(cpuMap(cpus)).u32(flags), options);
  }

  /** Pins QEMU's other threads. */
  pinEmulator(
    domain: Domain,
    cpus: readonly number[],
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    return this.run(remote.domainPinEmulator, on(domain).opaque(cpuMap(cpus)).u32(flags), options);
  }

  attachDevice(
    domain: Domain,
    xml: string,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    return this.run(remote.domainAttachDeviceFlags, on(domain).string(xml).u32(flags), options);
  }

  /** Resolves when the guest was asked; the deviceRemoved event says when it is gone. */
  detachDevice(
    domain: Domain,
    xml: string,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    return this.run(remote.domainDetachDeviceFlags, on(domain).string(xml).u32(flags), options);
  }

  updateDevice(
    domain: Domain,
    xml: string,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    return this.run(remote.domainUpdateDeviceFlags, on(domain).string(xml).u32(flags), options);
  }

  setSchedulerParameters(
    domain: Domain,
    tuning: SchedulerTuning,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    const args = encodeParams(on(domain), paramsFrom(schedulerParams, tuning)).u32(flags);
    return this.run(remote.domainSetSchedulerParametersFlags, args, options);
  }

  /** Needs the cpu cgroup controller, as setting does: else isOperationInvalid. */
  getSchedulerParameters(
    domain: Domain,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<ParamValues> {
    const args = on(domain).i32(schedulerParamsMax).u32(flags);
    return this.rpc.call(remote.domainGetSchedulerParametersFlags, args, decodeParams, options);
  }

  setMemoryParameters(
    domain: Domain,
    tuning: MemoryTuning,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    const args = encodeParams(on(domain), paramsFrom(memoryParams, tuning)).u32(flags);
    return this.run(remote.domainSetMemoryParameters, args, options);
  }

  setBlkioParameters(
    domain: Domain,
    tuning: BlkioTuning,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    const args = encodeParams(on(domain), paramsFrom(blkioParams, tuning)).u32(flags);
    return this.run(remote.domainSetBlkioParameters, args, options);
  }

  /** `disk`: target name (vda). */
  setBlockIoTune(
    domain: Domain,
    disk: string,
    tuning: BlockIoTuning,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    const args = encodeParams(on(domain).string(disk), paramsFrom(blockIoTuneParams, tuning)).u32(flags);
    return this.run(remote.domainSetBlockIoTune, args, options);
  }

  /** `device`: MAC address or the host's interface name. */
  setInterfaceParameters(
    domain: Domain,
    device: string,
    tuning: InterfaceTuning,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    const args = encodeParams(on(domain).string(device), paramsFrom(interfaceParams, tuning)).u32(flags);
    return this.run(remote.domainSetInterfaceParameters, args, options);
  }

  protected run(procedure: Procedure, args: Encoder, options: CallOptions | undefined): Promise<void> {
    return this.rpc.call(procedure, args, () => {}, options);
  }

  protected string(procedure: Procedure, args: Encoder, options: CallOptions | undefined): Promise<string> {
    return this.rpc.call(procedure, args, (from) => from.string(), options);
  }
}

/** Arguments that begin with the domain. */
export function on(domain: Domain): Encoder {
  return encodeDomain(new Encoder(), domain);
}

/** Our bound for the daemon's answer; libvirt's own is 16 (REMOTE_DOMAIN_SCHEDULER_PARAMETERS_MAX). */
const schedulerParamsMax = 16;

/** One bit a CPU, lowest first. */
function cpuMap(cpus: readonly number[]): Buffer {
  const map = Buffer.alloc(Math.floor(Math.max(0, ...cpus) / 8) + 1);
  for (const cpu of cpus) map[cpu >> 3] = (map[cpu >> 3] as number) | (1 << (cpu & 7));
  return map;
}
