import { MiB } from '../model/units.ts';
import { hotplugRegion } from './grow.ts';
import { escapeXml } from './xml.ts';

export type Acceleration = 'kvm' | 'tcg';

/** All that a base machine depends on, besides its name and places. Every job's machine starts in this shape and is grown by hotplug. */
export interface BaseShape {
  readonly acceleration: Acceleration;
  readonly emulator: string;
  /** QEMU machine type. A versioned one makes checkpoints survive a QEMU upgrade. */
  readonly machine: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly root: string;
  readonly baseMemoryBytes: number;
  /** The node's maxima: what hotplug may reach. */
  readonly maxMemoryBytes: number;
  readonly maxCpus: number;
  /** Of the host's time stamp counter, which emulated machines have as it is; undefined: the guest measures it. */
  readonly tscKhz: number | undefined;
  readonly extraKernelArguments: string;
}

export interface MachinePlaces {
  readonly name: string;
  readonly uuid: string;
  readonly controlSocket: string;
  readonly bulkSocket: string;
  /** Where the kernel's last words go (panic). */
  readonly consoleLog: string;
  /** Content of <metadata>, already XML. */
  readonly metadata: string;
}

/**
 * Command line of the guest kernel, tuned for boot time; each word was measured (facts: "Boot"). `tsc=reliable no_timer_check noreplace-smp` are for TCG's sake, and
 * `mitigations=off` too: emulated code does not speculate as the guest's kernel thinks, so they would protect nothing.
 * auto-movable keeps enough of the hot-plugged memory usable for the kernel itself: with online_movable a large job would run its 256 MiB of kernel memory dry.
 */
const KERNEL_ARGUMENTS = [
  'quiet loglevel=1 panic=-1 console=hvc0',
  'cryptomgr.notests random.trust_cpu=on 8250.nr_uarts=0 rcupdate.rcu_expedited=1 audit=0 nmi_watchdog=0 psi=1',
  // Bounce buffers are for devices that reach 4 GiB only; virtio ones reach all. They would take 64 MiB of every machine that may grow beyond.
  'swiotlb=noforce',
  'memhp_default_state=online memory_hotplug.online_policy=auto-movable memory_hotplug.auto_movable_ratio=301',
].join(' ');
const TCG_ARGUMENTS = 'tsc=reliable no_timer_check noreplace-smp mitigations=off';

/**
 * A guest that boots on a host without a free CPU measures its counter wrongly, and for good: clocks were seen that ran seven times too fast, which lets leases run out all the time.
 */
function clockArguments(tscKhz: number | undefined): string {
  return tscKhz === undefined ? '' : `tsc_early_khz=${tscKhz}`;
}

/** What emulated machines have: every QEMU can emulate it. */
export const TCG_CPU_MODEL = 'qemu64';

/** QEMU's own bound is 1 GiB, which a job that starts many programs fills: the overhead that we plan for (capacity.ts) has to hold. */
const TRANSLATION_CACHE = "<tcg><tb-cache unit='MiB'>128</tb-cache></tcg>";

/** Number of empty PCIe ports for hotplug: scratch disk, NIC, and two to spare. The guest's kernel takes 15 ms for each under TCG. */
const HOTPLUG_PORTS = 4;

/** What is never unplugged sits on the root bus itself: no port of its own to enumerate. Ports are given slots from 1 on by libvirt. */
const ROOT_BUS_SLOTS = { root: 0x10, serial: 0x11, balloon: 0x12, rng: 0x13, memory: 0x14 };

/** The libvirt domain of a base machine: little memory, one vCPU online, the maxima declared, no NIC, no scratch disk. */
export function domainXml(shape: BaseShape, places: MachinePlaces): string {
  const kvm = shape.acceleration === 'kvm';
  const mib = (value: number) => Math.ceil(value / MiB);
  const hotplugMib = mib(hotplugRegion(shape));
  const emulated = kvm ? [] : [TCG_ARGUMENTS, clockArguments(shape.tscKhz)];
  const cmdline = [KERNEL_ARGUMENTS, ...emulated, shape.extraKernelArguments].filter(Boolean).join(' ');
  const numa = `<numa><cell id='0' cpus='0-${shape.maxCpus - 1}' memory='${mib(shape.baseMemoryBytes)}' unit='MiB'/></numa>`;
  const cpu = kvm
    ? `<cpu mode='host-model' check='none'>${numa}</cpu>`
    : `<cpu mode='custom' match='exact' check='none'><model>${TCG_CPU_MODEL}</model>${numa}</cpu>`;
  const channel = (name: string, path: string) =>
    `<channel type='unix'><source mode='bind' path='${escapeXml(path)}'/><target type='virtio' name='${name}'/></channel>`;
  const ports = Array.from(
    { length: HOTPLUG_PORTS },
    () => "<controller type='pci' model='pcie-root-port'/>",
  ).join('');
  const onRootBus = (device: keyof typeof ROOT_BUS_SLOTS) =>
    `<address type='pci' domain='0' bus='0' slot='${ROOT_BUS_SLOTS[device]}' function='0'/>`;
  const memory =
    hotplugMib > 0
      ? `<memory model='virtio-mem'><target><size unit='MiB'>${hotplugMib}</size><node>0</node><block unit='MiB'>2</block>` +
        `<requested unit='MiB'>0</requested></target><alias name='ua-memory'/>${onRootBus('memory')}</memory>`
      : '';
  return (
    `<domain type='${kvm ? 'kvm' : 'qemu'}'>
<name>${escapeXml(places.name)}</name><uuid>${places.uuid}</uuid>
<metadata>${places.metadata}</metadata>
<maxMemory slots='4' unit='MiB'>${mib(shape.baseMemoryBytes) + hotplugMib + 128}</maxMemory>
<memory unit='MiB'>${mib(shape.baseMemoryBytes)}</memory>
<vcpu placement='static' current='1'>${shape.maxCpus}</vcpu>
<os><type arch='x86_64' machine='${escapeXml(shape.machine)}'>hvm</type>
<kernel>${escapeXml(shape.kernel)}</kernel><initrd>${escapeXml(shape.initrd)}</initrd><cmdline>${escapeXml(cmdline)}</cmdline></os>
<features><acpi/>${kvm ? '' : TRANSLATION_CACHE}</features>${cpu}
<clock offset='utc'><timer name='hpet' present='no'/></clock>
<on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>
<devices><emulator>${escapeXml(shape.emulator)}</emulator>
<disk type='file' device='disk' model='virtio-non-transitional'><driver name='qemu' type='raw' cache='writeback'/><source file='${escapeXml(shape.root)}'/>` +
    `<target dev='vda' bus='virtio'/><readonly/><shareable/>${onRootBus('root')}</disk>
<controller type='usb' model='none'/><controller type='pci' index='0' model='pcie-root'/>${ports}
<controller type='virtio-serial' index='0' ports='31' model='virtio-non-transitional'>${onRootBus('serial')}</controller>
${channel('caddis.ctl', places.controlSocket)}${channel('caddis.bulk', places.bulkSocket)}
<console type='file'><source path='${escapeXml(places.consoleLog)}'/><target type='virtio' port='0'/></console>
<memballoon model='virtio-non-transitional' freePageReporting='on' autodeflate='on'><stats period='5'/>${onRootBus('balloon')}</memballoon>
<rng model='virtio-non-transitional'><backend model='random'>/dev/urandom</backend>${onRootBus('rng')}</rng>
${memory}
</devices></domain>`
  );
}
