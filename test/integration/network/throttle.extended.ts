import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { runBatch } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { JOB_MS, optionsFor } from '../support/machines.ts';

/** libvirt throttles a tap with the qdisc sfq, which the kernel of the machines that this was written on does not have: there the start fails by name. */
const LIMITED = `[network]
inbound_kilobytes_per_second = 1000
outbound_kilobytes_per_second = 1000
`;
const PORT = 8079;

/** Sends 4 MiB to the head and says how many bytes a second went. */
const SEND = (head: string) => `cat >send.py <<'PY'
import socket, time
begin = time.time()
s = socket.create_connection(('${head}', ${PORT}), 30)
for _ in range(64): s.sendall(bytes(65536))
s.shutdown(socket.SHUT_WR); s.recv(1)
print('sent', int((4 << 20) / (time.time() - begin)))
PY
exec python3 send.py`;

/** Takes what comes and answers one byte at the end. */
const SINK = `import socket, threading
s = socket.create_server(("0.0.0.0", ${PORT}))
def take(c):
    while c.recv(1 << 16): pass
    c.sendall(b"."); c.close()
while True:
    threading.Thread(target=take, args=(s.accept()[0],), daemon=True).start()`;

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

  it('is as fast as caddis.toml allows', async () => {
    const [file, ...prefix] = lab.head.prefix;
    const sink = execa(file as string, [...prefix, 'python3', '-c', SINK], {
      reject: false,
      timeout: 230_000,
    });
    try {
      const fast = await sent(free);
      const slow = await sent(limited);
      expect(slow).toBeLessThan(1_000_000 * 1.5);
      expect(fast, `beside ${slow} throttled`).toBeGreaterThan(2 * slow);
    } finally {
      sink.kill('SIGKILL');
    }
  });

  async function sent(node: LabHost): Promise<number> {
    const { exitCode, stdout, stderr } = await runBatch(lab, 'gridengine', 'vm', {
      script: `#!/bin/bash\n${SEND(lab.head.address)}\n`,
      options: optionsFor('gridengine', { node, memory: '200M' }),
      timeoutMs: JOB_MS,
    });
    expect(exitCode, stderr).toBe(0);
    return Number(/^sent (\d+)$/m.exec(stdout)?.[1]);
  }
});
