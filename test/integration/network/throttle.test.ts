import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { runBatch } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { JOB_MS, optionsFor } from '../support/machines.ts';

const LIMIT_KB = 1000;
const LIMITED = `[network]
inbound_kilobytes_per_second = ${LIMIT_KB}
outbound_kilobytes_per_second = ${LIMIT_KB}
`;
const PORT = 8079;
const MEGABYTES = 6;

/** Sends some megabytes to the head and takes as many from it; says how many bytes a second went each way. */
const TALK = (head: string) => `cat >talk.py <<'PY'
import socket, time
total = ${MEGABYTES} << 20
s = socket.create_connection(('${head}', ${PORT}), 30)
begin = time.time()
for _ in range(total >> 16): s.sendall(bytes(65536))
s.sendall(b'.'); s.recv(1)
print('sent', int(total / (time.time() - begin)))
begin = time.time()
got = 0
while got < total: got += len(s.recv(1 << 16))
print('received', int(total / (time.time() - begin)))
PY
exec python3 talk.py`;

const PEER = `import socket, threading
s = socket.create_server(("0.0.0.0", ${PORT}))
total = ${MEGABYTES} << 20
def talk(c):
    got = 0
    while got <= total: got += len(c.recv(1 << 16))
    c.sendall(b"."); c.sendall(bytes(total)); c.recv(1); c.close()
while True:
    threading.Thread(target=talk, args=(s.accept()[0],), daemon=True).start()`;

describe('the network throttle', () => {
  let lab: Lab;
  let limited: LabHost;
  let free: LabHost;
  beforeAll(async () => {
    lab = await theLab();
    const [first, second] = lab.nodes;
    if (!first || !second) throw new Error('the lab has fewer than two nodes');
    [limited, free] = [first, second];
    await stopOn(limited);
    await startOn(lab, limited, LIMITED);
  });
  afterAll(async () => {
    await stopOn(limited);
    await startOn(lab, limited);
  });

  it('holds in both directions', { timeout: 3 * JOB_MS }, async () => {
    const [file, ...prefix] = lab.head.prefix;
    const peer = execa(file as string, [...prefix, 'python3', '-c', PEER], {
      reject: false,
      timeout: 3 * JOB_MS,
    });
    try {
      const fast = await talk(free);
      const slow = await talk(limited);
      for (const way of ['sent', 'received'] as const) {
        // A bucket lets a first burst through.
        expect(slow[way], way).toBeLessThan(LIMIT_KB * 1024 * 1.35);
        expect(slow[way], way).toBeGreaterThan(LIMIT_KB * 1024 * 0.1);
        expect(fast[way], `${way}, beside ${slow[way]} throttled`).toBeGreaterThan(2 * slow[way]);
      }
    } finally {
      peer.kill('SIGKILL');
    }
  });

  async function talk(node: LabHost): Promise<{ sent: number; received: number }> {
    const { exitCode, stdout, stderr } = await runBatch(lab, 'gridengine', 'vm', {
      script: `#!/bin/bash\n${TALK(lab.head.address)}\n`,
      options: optionsFor('gridengine', { node, memory: '200M' }),
      timeoutMs: JOB_MS,
    });
    expect(exitCode, stderr).toBe(0);
    const rate = (way: string) => Number(new RegExp(`^${way} (\\d+)$`, 'm').exec(stdout)?.[1]);
    return { sent: rate('sent'), received: rate('received') };
  }
});
