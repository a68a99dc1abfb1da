import { MiB } from '../model/units.ts';
import { escapeXml } from './xml.ts';

/** Limits of a disk in bytes per second; 0 = none. */
export interface DiskLimits {
  readonly readBytesPerSecond: number;
  readonly writeBytesPerSecond: number;
}

/** The scratch disk as a hot-plugged virtio-blk; the guest finds it by its serial (at most 20 characters, virtio's bound). */
export function scratchDiskXml(path: string, serial: string, limits: DiskLimits): string {
  const tune = [
    limits.readBytesPerSecond > 0 ? `<read_bytes_sec>${limits.readBytesPerSecond}</read_bytes_sec>` : '',
    limits.writeBytesPerSecond > 0 ? `<write_bytes_sec>${limits.writeBytesPerSecond}</write_bytes_sec>` : '',
  ].join('');
  return (
    `<disk type='file' device='disk'><driver name='qemu' type='raw' cache='writeback' discard='unmap'/>` +
    `<source file='${escapeXml(path)}'/><target dev='vdb' bus='virtio'/><serial>${escapeXml(serial)}</serial>` +
    `${tune ? `<iotune>${tune}</iotune>` : ''}</disk>`
  );
}

export interface NicOptions {
  readonly bridge: string;
  readonly mac: string;
  /** Name of the tap device on the host, at most 15 characters (IFNAMSIZ - 1). */
  readonly tap: string;
}

export function nicXml(nic: NicOptions): string {
  return (
    `<interface type='bridge'><mac address='${nic.mac}'/><source bridge='${escapeXml(nic.bridge)}'/><target dev='${escapeXml(nic.tap)}'/>` +
    `<model type='virtio'/><rom enabled='no'/></interface>`
  );
}

/**
 * The live <memory model='virtio-mem'> element of `domainXml` with another requested size, for virDomainUpdateDeviceFlags.
 * libvirt wants the element as it stands (address, alias) with only <requested> changed. Throws when the domain has none.
 */
export function requestMemoryXml(domainXml: string, requestedBytes: number): string {
  const element = /<memory model='virtio-mem'[\s\S]*?<\/memory>/.exec(domainXml)?.[0];
  if (!element) throw new Error('the domain has no virtio-mem device');
  const requestedMib = Math.ceil(requestedBytes / MiB / 2) * 2; // whole blocks of 2 MiB
  return element.replace(
    /<requested unit='\w+'>\d+<\/requested>/,
    `<requested unit='KiB'>${requestedMib * 1024}</requested>`,
  );
}

/** Bytes that the virtio-mem device of a live domain's XML was asked to give; 0 if there is none. */
export function requestedMemory(domainXml: string): number {
  return sizeOf(domainXml, 'requested');
}

/** Bytes that it has given. */
export function presentMemory(domainXml: string): number {
  return sizeOf(domainXml, 'current');
}

function sizeOf(domainXml: string, what: 'requested' | 'current'): number {
  const element = /<memory model='virtio-mem'[\s\S]*?<\/memory>/.exec(domainXml)?.[0] ?? '';
  return Number(new RegExp(`<${what} unit='KiB'>(\\d+)</${what}>`).exec(element)?.[1] ?? 0) * 1024;
}

/** Memory that a live domain was made with, in bytes: all that its balloon counts from. QEMU leaves a virtio-mem device's out (measured with 7.2). */
export function baseMemory(domainXml: string): number {
  const base = /<cell id='0'[^>]* memory='(\d+)' unit='KiB'/.exec(domainXml)?.[1];
  if (base === undefined) throw new Error('the domain has no NUMA cell, which every machine of ours has');
  return Number(base) * 1024;
}
