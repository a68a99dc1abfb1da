import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { access, cp, mkdir, mkdtemp, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';

import { Connection } from '../../../src/libvirt/index.ts';
import { until } from '../../lab/process.ts';
import { makeCertificates, type TestCertificates } from './certificates.ts';

const run = promisify(execFile);

/**
 * A libvirtd of a test's own: in a mount, IPC and pid namespace whose /etc, /run, /var/lib, /var/log and /var/cache of libvirt are a private directory,
 * so it neither sees nor disturbs others on the machine. All its processes (QEMU too) die with `stop`, whatever happens.
 */
export interface PrivateLibvirtd {
  /** Everything of it; also a place for images and sockets that libvirtd can reach. */
  readonly directory: string;
  readonly socketPath: string;
  readonly tcpPort: number;
  readonly tlsPort: number;
  readonly tls: TestCertificates;
  /** SIGKILL, as a crash. QEMUs live on. */
  kill(): Promise<void>;
  /** Starts it (again) and waits until it answers. */
  start(): Promise<void>;
  /** SIGSTOP or SIGCONT: a daemon that hangs. */
  signal(name: 'SIGSTOP' | 'SIGCONT'): Promise<void>;
  /** The end of its log, for a failing test. */
  log(): Promise<string>;
  /** Ends it and every process in its namespace, removes the directory. */
  stop(): Promise<void>;
}

/** `name` begins the directory's name. Rejects within 30 s with libvirtd's log. */
export async function startPrivateLibvirtd(name: string): Promise<PrivateLibvirtd> {
  const parent = '/tmp/libvirt-test';
  await mkdir(parent, { recursive: true });
  // Short: unix socket paths end at 107 characters, and libvirt adds its own to them.
  const directory = await mkdtemp(join(parent, `${name}-`));
  const daemon = new Daemon(directory, await freePort(), await freePort());
  try {
    await daemon.prepare();
    await daemon.start();
  } catch (error) {
    const log = await daemon.log();
    await daemon.stop();
    throw new Error(`private libvirtd did not start; its log ends:\n${log}`, { cause: error });
  }
  return daemon;
}

/** A tcp port on which nobody listens now. Fixed ones fail when the last run's connections still linger. */
export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Removes a cgroup and those below it, deepest first; their processes are gone or going. */
async function removeCgroup(path: string): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeCgroup(join(path, entry.name));
  await until(`the processes of ${path} to end`, async () => {
    await rmdir(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    return true;
  });
}

const privateDirs = {
  '/etc/libvirt': 'etc',
  '/run/libvirt': 'run',
  '/var/lib/libvirt': 'lib',
  '/var/log/libvirt': 'log',
  '/var/cache/libvirt': 'cache',
} as const;

class Daemon implements PrivateLibvirtd {
  readonly directory: string;
  readonly socketPath: string;
  readonly tcpPort: number;
  readonly tlsPort: number;
  tls!: TestCertificates;
  /** Holds the namespaces; ending the init of its pid namespace ends all within. */
  #holder: ChildProcess | undefined;
  #initPid = 0;

  constructor(directory: string, tcpPort: number, tlsPort: number) {
    this.directory = directory;
    this.socketPath = join(directory, 'run', 'libvirt-sock');
    this.tcpPort = tcpPort;
    this.tlsPort = tlsPort;
  }

  async prepare(): Promise<void> {
    for (const place of Object.values(privateDirs))
      await mkdir(join(this.directory, place), { recursive: true });
    await cp('/etc/libvirt', join(this.directory, 'etc'), { recursive: true });
    // No default network and no autostart: they would touch the machine's own bridges.
    await rm(join(this.directory, 'etc/qemu/networks/autostart'), { recursive: true, force: true });
    await rm(join(this.directory, 'etc/qemu/autostart'), { recursive: true, force: true });
    this.tls = await makeCertificates(join(this.directory, 'etc/test-pki'));
    await writeFile(join(this.directory, 'etc/qemu.conf'), qemuConf);
    await writeFile(join(this.directory, 'etc/libvirtd.conf'), libvirtdConf(this.tcpPort, this.tlsPort));
    const binds = Object.entries(privateDirs).map(
      ([target, place]) => `mkdir -p ${target}; mount --bind ${join(this.directory, place)} ${target}`,
    );
    // The init (see the end of #cgroupScript) ignores SIGCHLD, so the kernel reaps every orphan at once: libvirt waits for a dead QEMU's entry to go (facts/vm.md, 1).
    const script = ['set -e', ...binds, ...(await this.#cgroupScript())].join('\n');
    // `cat` reads our end of a pipe: when this test process dies, however it dies, the namespace and all in it end.
    this.#holder = spawn(
      'unshare',
      [
        '--mount',
        '--ipc',
        '--pid',
        '--fork',
        '--kill-child',
        '--mount-proc',
        '--propagation',
        'private',
        'bash',
        '-c',
        script,
      ],
      { stdio: ['pipe', 'ignore', 'inherit'] },
    );
    const unsharePid = this.#holder.pid as number;
    const children = await until('the namespace', () =>
      readFile(`/proc/${unsharePid}/task/${unsharePid}/children`, 'utf8').then(
        (text) => text.trim() || false,
      ),
    );
    this.#initPid = Number(children.split(' ')[0]);
    // Only when the shell has become `cat` is every directory in its place; earlier, libvirtd would run on the machine's own.
    await until('the private directories', async () => {
      const command = await readFile(`/proc/${this.#initPid}/comm`, 'utf8');
      return command.trim() === 'cat';
    });
  }

  async start(): Promise<void> {
    await run(
      'nsenter',
      [...this.#inside(), 'libvirtd', '--daemon', '--listen', '--pid-file', '/run/libvirt/test.pid'],
      {
        timeout: 30_000,
      },
    );
    await until('libvirtd to answer', async () => {
      const connection = await Connection.open('test:///default', {
        endpoint: { kind: 'unix', path: this.socketPath },
      });
      await connection.close();
      return true;
    });
  }

  async kill(): Promise<void> {
    await this.#kill('KILL');
    await until('libvirtd to be gone', async () => {
      try {
        await this.#kill('0');
        return false;
      } catch {
        return true;
      }
    });
    await rm(join(this.directory, 'run/test.pid'), { force: true });
  }

  async signal(name: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    await this.#kill(name.slice('SIG'.length));
  }

  async log(): Promise<string> {
    const text = await readFile(join(this.directory, 'log/libvirtd.log'), 'utf8').catch(() => '(no log)');
    return text.slice(-4000);
  }

  async stop(): Promise<void> {
    const holder = this.#holder;
    if (holder && holder.exitCode === null && holder.signalCode === null) {
      const gone = new Promise<void>((resolve) => holder.once('exit', () => resolve()));
      holder.stdin?.end();
      holder.kill('SIGKILL');
      await gone;
    }
    for (const controller of cgroupControllers) await removeCgroup(this.#cgroup(controller));
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  /** A cgroup root of its own (version 1 controllers), so that libvirt limits machines for real and leaves nothing in the machine's. */
  async #cgroupScript(): Promise<string[]> {
    await access('/sys/fs/cgroup/cpu/cgroup.procs').catch(() => {
      throw new Error('expected cgroup version 1 controllers under /sys/fs/cgroup (cpu, cpuacct, memory)');
    });
    for (const controller of cgroupControllers) await mkdir(this.#cgroup(controller), { recursive: true });
    const enter = cgroupControllers.map((controller) => `echo $$ > ${this.#cgroup(controller)}/cgroup.procs`);
    const mounts = cgroupControllers.map(
      (name) => `mkdir /sys/fs/cgroup/${name}; mount -t cgroup -o ${name} none /sys/fs/cgroup/${name}`,
    );
    // `unshare --cgroup` after entering: from then on what was entered is the root, for mounts too.
    const inside = [
      'set -e',
      'mount -t tmpfs none /sys/fs/cgroup',
      ...mounts,
      'exec env --ignore-signal=CHLD cat',
    ];
    return [...enter, `exec unshare --cgroup bash -c '${inside.join('\n')}'`];
  }

  #cgroup(controller: string): string {
    return join('/sys/fs/cgroup', controller, basename(this.directory));
  }

  async #kill(signal: string): Promise<void> {
    const pid = (await readFile(join(this.directory, 'run/test.pid'), 'utf8')).trim();
    await run('nsenter', [...this.#inside(), 'kill', `-${signal}`, pid], { timeout: 10_000 });
  }

  #inside(): string[] {
    return ['--target', String(this.#initPid), '--mount', '--ipc', '--pid', '--'];
  }
}

/** What the limits under test need. */
const cgroupControllers = ['cpu', 'cpuacct', 'memory'] as const;

const qemuConf = `
user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
namespaces = [ ]
stdio_handler = "file"
max_core = 0
save_image_format = "raw"
cgroup_controllers = [ "cpu", "cpuacct", "memory" ]
`;

function libvirtdConf(tcpPort: number, tlsPort: number): string {
  return `
listen_tls = 1
tls_port = "${tlsPort}"
ca_file = "/etc/libvirt/test-pki/ca.pem"
cert_file = "/etc/libvirt/test-pki/cert.pem"
key_file = "/etc/libvirt/test-pki/key.pem"
listen_tcp = 1
listen_addr = "127.0.0.1"
tcp_port = "${tcpPort}"
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_dir = "/run/libvirt"
host_uuid = "${randomUUID()}"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
keepalive_interval = 1
keepalive_count = 5
`;
}
