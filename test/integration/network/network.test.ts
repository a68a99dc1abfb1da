import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { runBatch } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import { asGuestRoot, cancel, optionsFor, type RunningJob, startJob } from '../support/machines.ts';

const PORT = 8077;
/** A server as users start them in jobs. */
const SERVER = `echo "hello from the job" >hello; python3 -u -m http.server ${PORT} >server.log 2>&1 & sleep 1
until python3 -c 'import socket; socket.create_connection(("127.0.0.1", ${PORT}), 5)' 2>/dev/null; do sleep 0.2; done
echo ready; wait`;

const fetchHello = (address: string) => [
  'python3',
  '-c',
  `import urllib.request; print(urllib.request.urlopen("http://${address}:${PORT}/hello", timeout=30).read().decode(), end="")`,
];

describe('network', () => {
  let lab: Lab;
  let server: RunningJob;
  let nodes: [LabHost, LabHost];
  beforeAll(async () => {
    lab = await theLab();
    const [first, second] = lab.nodes;
    if (!first || !second) throw new Error('the lab has fewer than two nodes');
    nodes = [first, second];
    server = await startJob(lab, 'slurm', { node: first, memory: '200M' }, SERVER);
  });
  afterAll(async () => {
    if (server) await cancel(server);
  });

  it('a server in a job is reached from the head', async () => {
    expect(await on(lab.head, fetchHello(server.address))).toBe('hello from the job');
  });

  it('and from a job on the other node, which reaches the head and bears its node’s name', async () => {
    const [, second] = nodes;
    const head = execa(
      lab.head.prefix[0] as string,
      [...lab.head.prefix.slice(1), 'python3', '-u', '-c', SINK],
      {
        reject: false,
        timeout: 110_000,
      },
    );
    try {
      const { stdout, stderr, exitCode } = await runBatch(lab, 'gridengine', 'vm', {
        script: `#!/bin/bash
set -e
${fetchHello(server.address).slice(0, 2).join(' ')} '${fetchHello(server.address)[2]}'
python3 -c 'import socket; c = socket.create_connection(("${lab.head.address}", ${PORT + 1}), 30); print("head says", c.recv(99).decode())'
echo "name $(hostname)"
echo "resolves $(python3 -c 'import socket; print(socket.gethostbyname(socket.gethostname()))')"
echo "own $(ip -4 -o addr show scope global | while read -r _ _ _ a _; do echo "\${a%/*}"; done)"
`,
        options: optionsFor('gridengine', { node: second, memory: '200M' }),
        timeoutMs: 110_000,
      });
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      const own = /^own (\S+)$/m.exec(stdout)?.[1] ?? '';
      expect(own).toMatch(/^10\.77\.0\.1\d\d$/);
      expect(own).not.toBe(server.address);
      expect(stdout).toContain('hello from the job\n');
      expect(stdout).toContain(`head says you are ${own}\n`);
      expect(stdout).toContain(`name ${second.name}\n`);
      expect(stdout).toContain(`resolves ${own}\n`);
    } finally {
      head.kill('SIGKILL');
    }
  });

  it('nothing leaves a machine under another address, not even by its root', async () => {
    const listener = execa(
      lab.head.prefix[0] as string,
      [...lab.head.prefix.slice(1), 'python3', join(import.meta.dirname, 'listen.py')],
      { reject: false, timeout: 110_000 },
    );
    let heard = '';
    listener.stdout?.on('data', (text: Buffer) => {
      heard += text.toString();
    });
    try {
      await until('the head to listen', async () => heard.includes('listening'));
      const other = '10.77.0.250';
      const { stdout: links } = await asGuestRoot(server, [
        'ip',
        '-4',
        '-o',
        'addr',
        'show',
        'scope',
        'global',
      ]);
      const nic = links.split(/\s+/)[1] ?? '';
      const program = await readFile(join(import.meta.dirname, 'frames.py'), 'utf8');
      const sent = await asGuestRoot(server, ['python3', '-', nic, server.address, other], program);
      expect(sent, sent.stderr).toMatchObject({ stdout: 'sent', exitCode: 0 });
      // The control: what is right was sent first and came through, in order with what was not.
      await until(
        'the right frames to arrive at the head',
        async () => (heard.match(/^right-ip$/gm) ?? []).length >= 5 && heard.includes('right-arp'),
      );
      const marks = new Set(heard.split('\n').filter((mark) => mark !== '' && mark !== 'listening'));
      expect([...marks].sort()).toEqual(['right-arp', 'right-ip']);

      const ping = (source: string) =>
        asGuestRoot(server, ['python3', '-c', PING, source, lab.head.address, `${PORT}`]);
      await asGuestRoot(server, ['ip', 'addr', 'add', `${other}/24`, 'dev', nic]);
      expect((await ping(other)).stdout).toBe('no answer');
      expect((await ping(server.address)).stdout).toBe('refused');
    } finally {
      listener.kill('SIGKILL');
    }
  });

  it('address, tap and permission are given back', async () => {
    const claim = join(lab.paths.root, 'addresses', server.address);
    expect(await readFile(claim, 'utf8')).toBe(`${server.node.name} ${server.machine}\n`);
    expect(await rules(server.node)).toContain(server.address);
    await cancel(server);
    await until(
      'the claim to go',
      () =>
        access(claim).then(
          () => false,
          () => true,
        ),
      { timeoutMs: 60_000 },
    );
    await until(
      'the rule to go',
      async () => !(await rules(server.node)).includes(server.machine.slice(-10)),
    );
    await untilNothingLeft(lab);
  });
});

/** Says to each that connects which address it came from. */
const SINK = `import socket
s = socket.create_server(("0.0.0.0", ${PORT + 1}))
while True:
    c, peer = s.accept()
    c.sendall(("you are " + peer[0]).encode()); c.close()`;

/** Connects to a port where nobody listens: a refusal is an answer. */
const PING = `import socket, sys
try:
    socket.create_connection((sys.argv[2], int(sys.argv[3])), 5, (sys.argv[1], 0)); print("connected", end="")
except ConnectionRefusedError:
    print("refused", end="")
except OSError:
    print("no answer", end="")`;

async function rules(node: LabHost): Promise<string> {
  return on(node, ['/usr/sbin/nft', 'list', 'set', 'bridge', 'caddis', 'machines']);
}
