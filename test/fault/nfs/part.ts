import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { build } from 'esbuild';
import { execa } from 'execa';
import { statusOf } from '../../integration/moving/support.ts';
import { asUser, submit } from '../../integration/support/batch.ts';
import { theLab } from '../../integration/support/lab.ts';
import { freshNfsStore, nfsStore } from '../../lab/home.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { network, storeAccount } from '../../lab/layout.ts';
import { on, until } from '../../lab/process.ts';
import { accountOf } from '../../lab/users.ts';
import { type FaultPart, type Tally, Violation } from '../fault.ts';

const CLIENT_MS = 8 * 60_000;
/** Which operations a run cuts off after: a run may be done in parts. */
const { FAULT_NFS_STRIDE = '2', FAULT_NFS_FIRST = '0' } = process.env;
const MOUNT = '/mnt/store';
const TOOLS = 'tools';

interface Said {
  readonly outcomes: readonly { kind: string; variant: string; what?: string }[];
  readonly races: readonly { epoch: number; won: boolean; isMine: boolean; current?: string }[];
}

/** The store's own operations on a real NFS mount that squashes root to the service account, from two guests as its clients. */
export const nfsPart: FaultPart = {
  name: 'nfs',
  run: async (tally) => {
    const lab = await theLab();
    const account = await accountOf(storeAccount);
    if (!account) throw new Error(`no account "${storeAccount}"`);
    await freshNfsStore(account);
    await bundleClient(lab, account);
    const ids = await Promise.all(
      lab.nodes.map(async (node) => {
        const { id } = await submit(lab, 'slurm', 'vm', {
          command: ['sleep', '1200'],
          options: ['-w', node.name, '--mem=600M'],
        });
        return id;
      }),
    );
    try {
      const said = await Promise.all(
        lab.nodes.map((node, i) => runClient(node, ids[i] as string, i, account.uid)),
      );
      await judge(tally, said);
    } finally {
      await asUser(lab, ['scancel', ...ids]);
    }
  },
};

/** The client and a Node.js with its libraries, which guests do not have, beside the store: that is what root of a guest may read. */
async function bundleClient(lab: Lab, { uid, gid }: { uid: number; gid: number }): Promise<void> {
  const directory = join(nfsStore, TOOLS);
  await mkdir(directory, { recursive: true });
  const temporary = await mkdtemp(join(tmpdir(), 'caddis-nfs-'));
  try {
    const client = join(temporary, 'client.mjs');
    await build({
      entryPoints: [join(import.meta.dirname, 'client.ts')],
      ...{
        outfile: client,
        bundle: true,
        platform: 'node',
        format: 'esm',
        target: 'node20',
        logLevel: 'error',
      },
    });
    const { stdout } = await execa('ldd', [process.execPath]);
    const libraries = [...stdout.matchAll(/(\/\S+) \(/g)].map((match) => match[1] as string);
    for (const file of [client, process.execPath, ...libraries])
      await copyFile(file, join(directory, file.split('/').pop() as string));
    await on(lab.head, ['chown', '-R', `${uid}:${gid}`, directory]);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function runClient(node: LabHost, id: string, index: number, uid: number): Promise<Said> {
  const key = `slurm-${id}`;
  const address = await until(
    `${key} to run`,
    async () =>
      (await statusOf(node)).machines.find(({ job, phase }) => job === key && phase === 'running')?.address,
    { timeoutMs: 180_000, everyMs: 500 },
  );
  const head = network.addresses.head;
  const options = `vers=4.2,addr=${head},clientaddr=${address},hard,proto=tcp,actimeo=3`;
  const script = `set -e
mkdir -p ${MOUNT}
mount -i -t nfs4 -o ${options} ${head}:${nfsStore} ${MOUNT}
cd ${MOUNT}/${TOOLS}
exec ./ld-linux-x86-64.so.2 --library-path . ./node --no-warnings client.mjs ${MOUNT}/caddis ${index} ${uid} ${FAULT_NFS_STRIDE} ${FAULT_NFS_FIRST}`;
  const words = ['shell', key, '--', 'sh', '-c', script];
  const text = await on(node, [process.execPath, 'dist/caddis.cjs', ...words], { timeoutMs: CLIENT_MS });
  return JSON.parse(text.trim().split('\n').at(-1) ?? '') as Said;
}

async function judge(tally: Tally, said: readonly Said[]): Promise<void> {
  for (const { kind, variant, what } of said.flatMap(({ outcomes }) => outcomes))
    await tally.variant(kind, variant, async () => {
      if (what !== undefined) throw new Violation(what);
    });
  const [one, two] = said as [Said, Said];
  for (const [i, first] of one.races.entries())
    await tally.variant('nfs claim race', `epoch ${first.epoch}`, async () => {
      const second = two.races[i];
      const winners = [first, second].filter((client) => client?.won && client.isMine);
      if (winners.length !== 1) throw new Violation(`${winners.length} clients have the claim`);
      if (first.current !== second?.current)
        throw new Violation(`one sees it with ${first.current}, the other with ${second?.current}`);
    });
}
