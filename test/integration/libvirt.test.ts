import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import {
  type Connection,
  createFlags,
  type Domain,
  type DomainEvent,
  isConnectionLost,
  isInvalidArgument,
  isNoDomain,
  isNoDomainMetadata,
  isNoSupport,
  isOperationAborted,
  isOperationInvalid,
  isXmlError,
  jobOperation,
  Libvirt,
  listFlags,
  metadataType,
  migrateFlags,
  QmpError,
  saveFlags,
  snapshotFlags,
  statsFlags,
  statsGroups,
  xmlFlags,
} from '../../src/libvirt/index.ts';
import { until } from '../lab/process.ts';
import { emptyMachineXml } from './support/empty-machine.ts';
import { freePort, type PrivateLibvirtd, startPrivateLibvirtd } from './support/private-libvirtd.ts';

/** The first QEMU call makes libvirtd probe its emulators (2 s here, more on a loaded machine). */
const slowMs = 60_000;
const long = { timeoutMs: 30_000 };

let one: PrivateLibvirtd;
let two: PrivateLibvirtd;
const opened: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  one = await startPrivateLibvirtd('a');
  two = await startPrivateLibvirtd('b');
});

afterAll(async () => {
  await one?.stop();
  await two?.stop();
});

afterEach(async (context) => {
  for (const thing of opened.splice(0).reverse()) await thing.close();
  if (context.task.result?.state === 'fail') console.error(await one.log());
});

async function connect(uri: string, to = one): Promise<Libvirt<Connection>> {
  const libvirt = await Libvirt.open(uri, { endpoint: { kind: 'unix', path: to.socketPath } });
  opened.push(libvirt);
  return libvirt;
}

/** Collects events; the returned function takes out the first that matches, waiting for it if need be. */
async function watch(libvirt: Libvirt, kinds: readonly DomainEvent['kind'][], domain?: Domain) {
  const held: DomainEvent[] = [];
  for (const kind of kinds) await libvirt.rpc.subscribe(kind, (event) => held.push(event), { domain });
  return async (wanted: (event: DomainEvent) => boolean): Promise<DomainEvent> => {
    const find = async () => {
      const index = held.findIndex(wanted);
      return index >= 0 && { index };
    };
    const found = await until('an event', find, { timeoutMs: 15_000, everyMs: 10 }).catch(
      (cause: unknown) => {
        throw new Error(`no such event among ${held.map((event) => Object.values(event).join(' '))}`, {
          cause,
        });
      },
    );
    return held.splice(found.index, 1)[0] as DomainEvent;
  };
}

function lifecycle(event: string, reason: string): (event: DomainEvent) => boolean {
  return (seen) => seen.kind === 'lifecycle' && seen.event === event && seen.reason === reason;
}

describe("libvirt's test driver", () => {
  it('is found, described and changed', async () => {
    const libvirt = await connect('test:///default');
    expect(await libvirt.version()).toMatchObject({ libvirt: expect.stringMatching(/^\d+\.\d+\.\d+$/) });
    expect(await libvirt.capabilitiesXml()).toContain('<capabilities>');
    const test = await libvirt.lookupByName('test');
    expect(await libvirt.lookupByUuid(test.uuid)).toEqual(test);
    expect(await libvirt.listDomains(listFlags.active)).toEqual([test]);
    expect(await libvirt.xml(test)).toContain(`<uuid>${test.uuid}</uuid>`);
    const next = await watch(libvirt, ['lifecycle'], test);
    await libvirt.suspend(test);
    expect(await libvirt.state(test)).toEqual({ state: 'paused', reason: 'user' });
    await libvirt.resume(test);
    expect(await libvirt.state(test)).toEqual({ state: 'running', reason: 'unpaused' });
    await next(lifecycle('suspended', 'paused'));
    await next(lifecycle('resumed', 'unpaused'));
    await libvirt.setBlkioParameters(test, { weight: 500 });
    await libvirt.setInterfaceParameters(test, 'aa:bb:cc:dd:ee:ff', { 'inbound.average': 128 });
    expect(await libvirt.xml(test)).toMatch(/<inbound average='128'\/>/);
  });

  it('tells its errors by code', async () => {
    const libvirt = await connect('test:///default');
    const test = await libvirt.lookupByName('test');
    const fails = (call: Promise<unknown>) =>
      call.then(
        () => 'no error',
        (error: unknown) => error,
      );
    expect(await fails(libvirt.lookupByName('nope'))).toSatisfy(isNoDomain);
    expect(await fails(libvirt.createXml('<domain'))).toSatisfy(isXmlError);
    expect(await fails(libvirt.resume(test))).not.toBe('no error');
    expect(await fails(libvirt.migrate(test, 'test:///default', {}, migrateFlags.peer2peer, long))).toSatisfy(
      isNoSupport,
    );
    expect(await fails(libvirt.setSchedulerParameters(test, { vcpu_quota: 1000 }))).toSatisfy(
      isInvalidArgument,
    );
    expect(libvirt.rpc.ended).toBeUndefined();
  });

  it('is reached over tcp', async () => {
    const libvirt = await Libvirt.open('test:///default', {
      endpoint: { kind: 'tcp', host: '127.0.0.1', port: one.tcpPort },
    });
    opened.push(libvirt);
    expect((await libvirt.listDomains()).map(({ name }) => name)).toEqual(['test']);
  });

  it('is reached over TLS by those whose certificate it knows', async () => {
    const { ca, cert, key, strangerCert, strangerKey } = one.tls;
    const endpoint = { kind: 'tls', host: '127.0.0.1', port: one.tlsPort, ca } as const;
    const libvirt = await Libvirt.open('test:///default', { endpoint: { ...endpoint, cert, key } });
    opened.push(libvirt);
    expect((await libvirt.listDomains()).map(({ name }) => name)).toEqual(['test']);
    const stranger = Libvirt.open('test:///default', {
      endpoint: { ...endpoint, cert: strangerCert, key: strangerKey },
    });
    await expect(stranger).rejects.toSatisfy(isConnectionLost);
    const otherCa = Libvirt.open('test:///default', {
      endpoint: { ...endpoint, ca: strangerCert, cert, key },
    });
    await expect(otherCa).rejects.toSatisfy(isConnectionLost);
  });

  it('survives the daemon pinging it and hears of a daemon that hangs', async () => {
    const path = one.socketPath;
    const idle = await Libvirt.open('test:///default', {
      endpoint: { kind: 'unix', path },
      keepalive: false,
    });
    const asking = await Libvirt.open('test:///default', {
      endpoint: { kind: 'unix', path },
      keepalive: { intervalMs: 200, count: 3 },
    });
    opened.push(idle, asking);
    // The daemon's own limit is (1 + 5) x 1 s (see its configuration): an idle client that did not answer would be gone.
    await new Promise((resolve) => setTimeout(resolve, 7_500));
    expect([idle.rpc.ended, asking.rpc.ended]).toEqual([undefined, undefined]);
    await one.signal('SIGSTOP');
    try {
      const error: unknown = await asking.hostname().catch((caught: unknown) => caught);
      expect(error).toSatisfy(isConnectionLost);
      expect(asking.rpc.ended?.message).toMatch(/silent for 800 ms/);
    } finally {
      await one.signal('SIGCONT');
    }
    expect(await idle.hostname()).not.toBe('');
  });
});

describe('a QEMU machine', () => {
  it('that is not there is named in each error: no call gets the answer of another', async () => {
    const libvirt = await connect('qemu:///system');
    await libvirt.version({ timeoutMs: slowMs });
    const calls = Array.from({ length: 200 }, (_, index) =>
      libvirt.lookupByName(`none-${index}`).catch((error: Error) => error.message),
    );
    for (const [index, answer] of (await Promise.all(calls)).entries())
      expect(answer).toMatch(new RegExp(`'none-${index}'`));
  });

  it('lives: create, metadata, suspend, statistics, save, restore with other XML, QMP, destroy', async () => {
    const libvirt = await connect('qemu:///system');
    const next = await watch(libvirt, ['lifecycle', 'jobCompleted']);
    const channel = (name: string) => join(one.directory, name);
    const xml = emptyMachineXml({ name: 'lives', channelPath: channel('first.sock') });
    const domain = await libvirt.createXml(xml, createFlags.paused, { timeoutMs: slowMs });
    await next(lifecycle('started', 'booted'));
    expect(await libvirt.state(domain)).toMatchObject({ state: 'paused' });
    await libvirt.resume(domain);
    await next(lifecycle('resumed', 'unpaused'));

    const uri = 'https://caddis.invalid/test/1';
    const get = () => libvirt.getMetadata(domain, metadataType.element, uri);
    await expect(get()).rejects.toSatisfy(isNoDomainMetadata);
    await libvirt.setMetadata(domain, metadataType.element, '<job id="slurm-17"/>', 'caddis', uri);
    expect(await get()).toContain('slurm-17');

    await libvirt.suspend(domain);
    await next(lifecycle('suspended', 'paused'));
    expect(await libvirt.memoryStats(domain)).toMatchObject({
      actualKib: 65536,
      rssKib: expect.any(Number),
    });
    const [stats] = await libvirt.allDomainStats(
      statsGroups.state | statsGroups.cpuTotal,
      statsFlags.noWait,
      [domain],
    );
    expect(stats).toMatchObject({ domain, stats: { 'state.state': 3, 'cpu.time': expect.any(BigInt) } });
    expect(await libvirt.allDomainStats(statsGroups.balloon, statsFlags.paused)).toHaveLength(1);
    expect(await libvirt.jobStats(domain)).toMatchObject({ type: 'none' });
    await expect(libvirt.abortJob(domain)).rejects.toSatisfy(isOperationInvalid);

    const live = await libvirt.xml(domain, xmlFlags.migratable | xmlFlags.secure);
    const file = join(one.directory, 'lives.save');
    await libvirt.save(domain, file, { ...long, flags: saveFlags.paused });
    const job = await next((event) => event.kind === 'jobCompleted');
    expect(job).toMatchObject({ domain: { name: 'lives' }, params: { operation: jobOperation.save } });
    await next(lifecycle('stopped', 'saved'));
    await expect(libvirt.lookupByName('lives')).rejects.toSatisfy(isNoDomain);
    expect(await libvirt.saveImageXml(file)).toContain('first.sock');

    await libvirt.restore(file, {
      ...long,
      dxml: live.replace('first.sock', 'second.sock'),
      flags: saveFlags.running,
    });
    await next(lifecycle('started', 'restored'));
    const restored = await libvirt.lookupByName('lives');
    expect(restored.uuid).toBe(domain.uuid);
    expect(await libvirt.xml(restored)).toContain('second.sock');
    expect(await libvirt.state(restored)).toMatchObject({ state: 'running' });
    expect(await libvirt.getMetadata(restored, metadataType.element, uri)).toContain('slurm-17');

    expect(await libvirt.monitorCommand(restored, { execute: 'query-status' })).toMatchObject({
      status: 'running',
    });
    await expect(libvirt.monitorCommand(restored, { execute: 'no-such' })).rejects.toBeInstanceOf(QmpError);
    await libvirt.destroy(restored);
    await next(lifecycle('stopped', 'destroyed'));
  });

  it('grows and is limited while it runs', async () => {
    const libvirt = await connect('qemu:///system');
    const domain = await libvirt.createXml(emptyMachineXml({ name: 'grows' }), 0, { timeoutMs: slowMs });
    const next = await watch(libvirt, ['deviceAdded'], domain);
    await libvirt.setVcpus(domain, 2);
    expect(await libvirt.getVcpus(domain)).toBe(2);
    await libvirt.setMemory(domain, 32768);
    await libvirt.setMemoryStatsPeriod(domain, 5);
    expect(await libvirt.xml(domain)).toMatch(/<stats period='5'\/>/);
    await libvirt.pinVcpu(domain, 0, [0]);
    await libvirt.pinEmulator(domain, [0]);
    expect(await libvirt.xml(domain)).toMatch(/<vcpupin vcpu='0' cpuset='0'\/>/);

    await libvirt.setSchedulerParameters(domain, { vcpu_quota: 50_000, cpu_shares: 512 });
    expect(await libvirt.getSchedulerParameters(domain)).toMatchObject({
      vcpu_quota: 50_000n,
      cpu_shares: 512n,
    });
    await libvirt.setMemoryParameters(domain, { hard_limit: 900_000 });
    expect(await libvirt.xml(domain)).toContain("<hard_limit unit='KiB'>900000</hard_limit>");

    const image = join(one.directory, 'scratch.img');
    await writeFile(image, '');
    await truncate(image, 1024 * 1024);
    const disk = (path: string) =>
      `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${path}'/><target dev='vda' bus='virtio'/></disk>`;
    await libvirt.attachDevice(domain, disk(image));
    expect(await next((event) => event.kind === 'deviceAdded')).toMatchObject({ alias: 'virtio-disk0' });
    await libvirt.setBlockIoTune(domain, 'vda', { total_bytes_sec: 1_000_000, write_iops_sec: 0 });
    expect(await libvirt.xml(domain)).toContain('<total_bytes_sec>1000000</total_bytes_sec>');
    await libvirt.detachDevice(domain, disk(image));

    const snapshot = `<domainsnapshot><memory snapshot='external' file='${join(one.directory, 'grows.mem')}'/><disks><disk name='vda' snapshot='no'/></disks></domainsnapshot>`;
    const flags = snapshotFlags.live | snapshotFlags.noMetadata | snapshotFlags.atomic;
    expect(await libvirt.snapshotCreateXml(domain, snapshot, flags, long)).toMatch(/^\d+$/);
    expect(await libvirt.saveImageXml(join(one.directory, 'grows.mem'))).toContain(domain.uuid);
    await libvirt.destroy(domain);
  });

  it('moves from one daemon to another', async () => {
    const [source, target] = [await connect('qemu:///system', one), await connect('qemu:///system', two)];
    const domain = await source.createXml(emptyMachineXml({ name: 'moves' }), 0, { timeoutMs: slowMs });
    await target.version({ timeoutMs: slowMs }); // let it probe its emulators first
    const next = await watch(source, ['lifecycle', 'jobCompleted'], domain);
    const uri = `qemu+tcp://127.0.0.1:${two.tcpPort}/system`;
    const flags = migrateFlags.live | migrateFlags.peer2peer;
    await source.setMigrateMaxDowntime(domain, 100).catch(() => {}); // only while it moves, in some versions
    await source.migrate(
      domain,
      uri,
      { migrate_uri: `tcp:127.0.0.1:${await freePort()}`, bandwidth: 1000 },
      flags,
      long,
    );
    expect(await next((event) => event.kind === 'jobCompleted')).toMatchObject({
      params: { operation: jobOperation.migrationOut },
    });
    await next(lifecycle('stopped', 'migrated'));
    await expect(source.lookupByUuid(domain.uuid)).rejects.toSatisfy(isNoDomain);
    const moved = await target.lookupByUuid(domain.uuid);
    expect(await target.state(moved)).toMatchObject({ state: 'running' });
    await target.destroy(moved);
  });

  it('stays when its move is aborted', async () => {
    const [libvirt, worker] = [await connect('qemu:///system'), await connect('qemu:///system')];
    const domain = await libvirt.createXml(emptyMachineXml({ name: 'aborts' }), 0, { timeoutMs: slowMs });
    const flags = migrateFlags.live | migrateFlags.peer2peer;
    // About 600 KB have to go: at 1 MiB/s, the least that libvirt takes, there is time to abort.
    const slow = { migrate_uri: `tcp:127.0.0.1:${await freePort()}`, bandwidth: 1 };
    const moving = worker
      .migrate(domain, `qemu+tcp://127.0.0.1:${two.tcpPort}/system`, slow, flags, long)
      .then(
        () => 'moved',
        (error: unknown) => error,
      );
    const bytesMoved = async () => {
      const { type, params } = await libvirt.jobStats(domain);
      return type !== 'none' && Number(params.memory_processed ?? 0) > 0 && params;
    };
    const job = await until('bytes to move', bytesMoved, { everyMs: 5 });
    expect(job).toMatchObject({ operation: jobOperation.migrationOut });
    await libvirt.abortJob(domain);
    expect(await moving).toSatisfy(isOperationAborted);
    expect(await libvirt.state(domain)).toMatchObject({ state: 'running' });
    await libvirt.destroy(domain);
  });
});

describe('a daemon that is killed', () => {
  it('rejects what is in flight; the connection comes back with its events, and the machine lives', async () => {
    const libvirt = Libvirt.openReconnecting('qemu:///system', {
      endpoint: { kind: 'unix', path: one.socketPath },
      firstDelayMs: 50,
    });
    opened.push(libvirt);
    await libvirt.rpc.ready();
    const domain = await libvirt.createXml(emptyMachineXml({ name: 'survives' }), 0, { timeoutMs: slowMs });
    const got: string[] = [];
    await libvirt.rpc.subscribe('lifecycle', ({ event }) => got.push(event), { domain });
    await one.signal('SIGSTOP'); // so that the call is surely in flight
    const inFlight = libvirt.state(domain).catch((error: unknown) => error);
    await one.kill();
    expect(await inFlight).toSatisfy(isConnectionLost);
    expect(await inFlight).toMatchObject({ sent: true });
    await expect(libvirt.state(domain)).rejects.toMatchObject({ name: 'ConnectionLost', sent: false });
    await one.start();
    await libvirt.rpc.ready();
    const survivor = await until('the machine to be known again', () => libvirt.lookupByUuid(domain.uuid));
    expect(await libvirt.state(survivor)).toMatchObject({ state: 'running' });
    await libvirt.suspend(survivor);
    await until('the event', async () => got.includes('suspended'));
    await libvirt.destroy(survivor);
  });
});
