import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { describe, expect, it } from 'vitest';

import { GiB, MiB } from '../../../src/model/units.ts';
import { requestedMemory, requestMemoryXml, scratchDiskXml } from '../../../src/vm/devices.ts';
import { type MachineFacts, metadataXml, parseMetadata } from '../../../src/vm/metadata.ts';
import { type BaseShape, domainXml, type MachinePlaces } from '../../../src/vm/shape.ts';

const shape: BaseShape = {
  acceleration: 'tcg',
  emulator: '/usr/bin/qemu-system-x86_64',
  machine: 'q35',
  kernel: '/images/a/vmlinux',
  initrd: '/images/a/initrd',
  root: "/images/it's <odd> & old/root.erofs",
  baseMemoryBytes: 256 * MiB,
  maxMemoryBytes: 8 * GiB,
  maxCpus: 4,
  tscKhz: 2_596_145,
  extraKernelArguments: 'x="1"',
};
const facts: MachineFacts = {
  version: 1,
  machine: 'caddis-0123456789ab',
  key: { scheduler: 'slurm', jobId: '7', task: '0' },
  incarnation: 'slurm-7@n1/0',
  request: {
    restartCount: 0,
    hosts: 1,
    user: 'alice',
    uid: 1000,
    gid: 1000,
    cpus: 2,
    queue: 'main',
    requeueable: true,
    jobName: `]]> "quoted" <job> & 'co' ü`,
    workDir: '/home/alice',
  },
  image: 'sha256:ab',
  acceleration: 'tcg',
  startedAt: '2026-01-01T00:00:00.000Z',
  ready: false,
};
const places: MachinePlaces = {
  name: 'caddis-0123456789ab',
  uuid: '00000000-0000-4000-8000-000000000001',
  controlSocket: '/run/caddis/machines/x/ctl',
  bulkSocket: '/run/caddis/machines/x/bulk',
  consoleLog: '/run/caddis/machines/x/console',
  metadata: metadataXml(facts),
};

describe('the base machine', () => {
  const xml = domainXml(shape, places);
  const parsed = new XMLParser({ ignoreAttributes: false, parseTagValue: false, htmlEntities: true }).parse(
    xml,
  ).domain;

  it('is well-formed whatever stands in paths and job names', () => {
    expect(XMLValidator.validate(xml)).toBe(true);
    expect(parsed.devices.disk.source['@_file']).toBe(shape.root);
  });

  it('has one vCPU and little memory, and declares the maxima', () => {
    expect(parsed.vcpu).toMatchObject({ '#text': '4', '@_current': '1' });
    expect(parsed.memory['#text']).toBe('256');
    expect(parsed.devices.memory.target.size['#text']).toBe(String(8 * 1024 - 256));
    expect(parsed.devices.memory.target.requested['#text']).toBe('0');
  });

  it('has room in its memory device for whole blocks of Linux beyond an odd maximum', () => {
    const odd = domainXml({ ...shape, maxMemoryBytes: 6100 * MiB }, places);
    expect(odd).toContain(`<target><size unit='MiB'>${46 * 128}</size>`);
    expect(odd).toContain(`<maxMemory slots='4' unit='MiB'>${256 + 46 * 128 + 128}</maxMemory>`);
  });

  it('is told the rate of its clock where it is emulated', () => {
    expect(parsed.os.cmdline).toContain(' tsc_early_khz=2596145 ');
    expect(domainXml({ ...shape, tscKhz: undefined }, places)).not.toContain('tsc_early_khz');
    expect(domainXml({ ...shape, acceleration: 'kvm' }, places)).not.toContain('tsc_early_khz');
  });

  it('has what is never unplugged on the root bus, each in a slot of its own', () => {
    const { disk, memballoon, rng, memory } = parsed.devices;
    const addresses = [disk, memballoon, rng, memory].map(({ address }) => address);
    expect(addresses.map((address) => address['@_bus'])).toEqual(['0', '0', '0', '0']);
    expect(new Set(addresses.map((address) => address['@_slot'])).size).toBe(4);
  });

  it('has no NIC and no scratch disk: they are hot-plugged', () => {
    expect(parsed.devices.interface).toBeUndefined();
    expect(Array.isArray(parsed.devices.disk)).toBe(false);
  });
});

describe('metadata', () => {
  it('comes back as it was, with any job name', () => {
    expect(parseMetadata(metadataXml(facts))).toEqual(facts);
  });

  it.each([
    '',
    '<x/>',
    '<job>{}</job>',
    '<job>{"version":2}</job>',
    '<job>not json</job>',
    '<job>{"version":1',
  ])('is undefined for %j', (xml) => {
    expect(parseMetadata(xml)).toBeUndefined();
  });
});

describe('devices', () => {
  it('writes throttles only when set', () => {
    const free = scratchDiskXml('/s/a.img', 'scratch', { readBytesPerSecond: 0, writeBytesPerSecond: 0 });
    expect(free).not.toContain('iotune');
    expect(
      scratchDiskXml('/s/a.img', 'scratch', { readBytesPerSecond: 0, writeBytesPerSecond: 5 }),
    ).toContain('<iotune><write_bytes_sec>5</write_bytes_sec></iotune>');
  });

  it('asks for whole blocks of virtio-mem and keeps the rest of the element', () => {
    const live =
      "<domain><memory model='virtio-mem'><target><requested unit='KiB'>0</requested><current unit='KiB'>0</current></target><alias name='ua-memory'/></memory></domain>";
    expect(requestMemoryXml(live, 3 * MiB)).toContain(
      "<requested unit='KiB'>4096</requested><current unit='KiB'>0</current>",
    );
    expect(requestedMemory(requestMemoryXml(live, 3 * MiB))).toBe(4 * MiB);
    expect(() => requestMemoryXml('<domain/>', 1)).toThrow('virtio-mem');
  });
});
