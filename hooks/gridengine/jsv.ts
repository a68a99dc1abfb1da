import { createInterface } from 'node:readline';

import { defaultPolicy } from './jsv/decide.ts';
import { readLending } from './jsv/lend.ts';
import { JsvProtocol } from './jsv/protocol.ts';

// The JSV of a cell (jsv_url script:/usr/lib/caddis/gridengine/jsv): one process for each worker thread of sge_qmaster, as long as
// that runs. An error ends one answer, never the process: without it no job could be submitted.
// Its words are checkpoint environments by queue (`all.q=caddis scavenge.q=caddis-move *=caddis`); parallel environments that spread jobs over hosts (`--spreading=mpi,orte`); `--lend=scavenge.q`, whose
// jobs run in slack; `--small=memory=1G,slots=1,h_rt=0:30:0`, which jobs that name no queue go there too; `--default-queue=all.q`, where the others of them go.
const words = process.argv.slice(2);
const environments = words
  .filter((word) => !word.startsWith('--'))
  .map((word): [string, string] => {
    const at = word.indexOf('=');
    return [word.slice(0, at), word.slice(at + 1)];
  });
const spreading = words.find((word) => word.startsWith('--spreading='))?.slice('--spreading='.length);
const protocol = new JsvProtocol({
  ...defaultPolicy,
  checkpointEnvironments: new Map(environments),
  spreading: new Set(spreading?.split(',')),
  lending: readLending(words),
  defaultQueue: words.find((word) => word.startsWith('--default-queue='))?.slice('--default-queue='.length),
});

createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })
  .on('line', (line) => {
    const { answers, quit } = safely(line);
    if (answers.length > 0) process.stdout.write(`${answers.join('\n')}\n`);
    if (quit) process.exit(0);
  })
  .on('close', () => process.exit(0));

// The qmaster is gone when it no longer reads.
process.stdout.on('error', () => process.exit(0));

function safely(line: string): { readonly answers: readonly string[]; readonly quit: boolean } {
  try {
    return protocol.receive(line);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.stdout.write(`LOG ERROR caddis: ${reason.replaceAll('\n', ' ')}\n`);
    return { answers: ['RESULT STATE ACCEPT'], quit: false };
  }
}
