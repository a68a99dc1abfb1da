import { describe, expect, it } from 'vitest';

import type { NodeReport } from '../../../src/model/node-report.ts';
import { commentWith, gresList, parseNodeGres } from '../../../src/scheduler/slurm/node-gres.ts';
import { SlackPublisher } from '../../../src/scheduler/slurm/publish.ts';
import { type Announced, announcement, decide } from '../../../src/scheduler/slurm/slack-policy.ts';

const MiB = 1024 * 1024;
const INTERVAL_MS = 60_000;

/** As sinfo pads it: `-O Gres:4096,Comment:4096`. */
function answer(gres: string, comment: string): string {
  return `${gres.padEnd(4096)}${comment.padEnd(4096)}`;
}

function report(slackMib: number, overall = 0, ok = true): NodeReport {
  return {
    ...{ ok, jobs: 1 },
    slack: { memoryBytes: slackMib * MiB, cpus: 0 },
    lent: { memoryBytes: 512 * MiB, cpus: 0 },
    pressure: { memory: overall, cpu: 0, io: 0, overall },
  };
}

describe('announcement', () => {
  it('counts what is lent too, in whole steps', () => {
    expect(announcement(report(1000), undefined)).toEqual({ slackMib: 1472, state: 'calm' });
    expect(announcement(report(1000, 0, false), 'calm')).toEqual({ slackMib: 0, state: 'closed' });
  });

  it('keeps a state until the pressure has clearly left it', () => {
    const states = [];
    let before: Announced['state'] | undefined;
    for (const pressure of [0.4, 0.55, 0.45, 0.85, 0.7, 0.55, 0.35, 0.2]) {
      before = announcement(report(0, pressure), before).state;
      states.push(before);
    }
    expect(states).toEqual(['calm', 'busy', 'busy', 'pressed', 'pressed', 'busy', 'busy', 'calm']);
  });
});

describe('decide', () => {
  const last: Announced = { slackMib: 4096, state: 'calm', atMs: 0, checkedAtMs: 0 };
  const at = (ms: number, slackMib: number, state: Announced['state'] = 'calm') =>
    decide(ms, last, { slackMib, state }, INTERVAL_MS);

  it('says the first one at once', () => {
    expect(decide(0, undefined, { slackMib: 0, state: 'calm' }, INTERVAL_MS)).toBe('update');
  });

  it('says nothing within the dead band, however long', () => {
    expect(
      decide(1e7, { ...last, checkedAtMs: 1e7 }, { slackMib: 4096 + 384, state: 'calm' }, INTERVAL_MS),
    ).toBe('nothing');
  });

  it('offers more after the interval, takes away after a sixth of it', () => {
    expect([at(59_000, 8192), at(60_000, 8192)]).toEqual(['nothing', 'update']);
    expect([at(9_000, 1024), at(10_000, 1024)]).toEqual(['nothing', 'update']);
    expect([at(59_000, 4096, 'busy'), at(60_000, 4096, 'busy')]).toEqual(['nothing', 'update']);
  });

  it('takes the last bit away too', () => {
    const little = { ...last, slackMib: 64 };
    expect(decide(10_000, little, { slackMib: 0, state: 'calm' }, INTERVAL_MS)).toBe('update');
  });

  it('checks what a reset would have taken', () => {
    expect(at(299_000, 4096)).toBe('nothing');
    expect(at(300_000, 4096)).toBe('check');
    expect(decide(1e7, { ...last, slackMib: 0 }, { slackMib: 0, state: 'calm' }, INTERVAL_MS)).toBe(
      'nothing',
    );
  });

  it('is at most a tenth of an update a minute for a machine at rest', () => {
    let now: Announced | undefined;
    let updates = 0;
    for (let second = 0; second < 3600; second++) {
      const wanted = announcement(report(3000 + 40 * Math.sin(second) + 0.02 * second), now?.state);
      if (decide(1000 * second, now, wanted, INTERVAL_MS) !== 'update') continue;
      updates += 1;
      now = { ...wanted, atMs: 1000 * second, checkedAtMs: 1000 * second };
    }
    // The first one is the start's.
    expect((updates - 1) / 60).toBeLessThanOrEqual(0.1);
  });
});

describe('node record', () => {
  it('keeps the other GRES and the comment of the site', () => {
    const line = answer('gpu:a100:4(S:0-1),slackmem:4K,tmp', 'rack 7 [caddis: calm, slack 1M]');
    const node = parseNodeGres(`${line}\n${line}\n`);
    expect(node).toEqual({
      others: ['gpu:a100:4', 'tmp'],
      slackMib: 4096,
      comment: 'rack 7 [caddis: calm, slack 1M]',
    });
    expect(gresList(node, 64)).toBe('gpu:a100:4,tmp,slackmem:64');
    expect(commentWith(node.comment, 'busy')).toBe('rack 7 [caddis: busy]');
    expect(commentWith('', 'busy')).toBe('[caddis: busy]');
  });

  it('knows a node without the GRES', () => {
    expect(parseNodeGres(answer('(null)', '(null)'))).toEqual({
      others: [],
      slackMib: 0,
      comment: '',
    });
  });
});

describe('SlackPublisher', () => {
  function publisher(types: string, intervalMs = 1e-6) {
    const commands: string[] = [];
    const node = { gres: 'gpu:1' };
    const run = async (argv: readonly string[]) => {
      commands.push(argv.slice(0, 3).join(' '));
      if (argv[1] === 'update') node.gres = argv[3]?.slice('Gres='.length) ?? '';
      return argv[2] === 'config'
        ? `GresTypes               = ${types}\nGroupUpdateForce = 1`
        : answer(node.gres, '(null)');
    };
    // By default every interval is over at once.
    return { commands, node, publisher: new SlackPublisher('n1', run, intervalMs) };
  }
  const signal = AbortSignal.timeout(5000);

  it('says again what was reset', async () => {
    const { node, publisher: one } = publisher('gpu,slackmem');
    await new Promise((resolve) => setTimeout(resolve, 2));
    await one.publish(report(1024), signal);
    expect(node.gres).toBe('gpu:1,slackmem:1536');
    node.gres = 'gpu:1';
    await one.publish(report(1024), signal);
    expect(node.gres).toBe('gpu:1,slackmem:1536');
  });

  it('says again at once when a job came that is not covered', async () => {
    const { commands, node, publisher: one } = publisher('gpu,slackmem', 600);
    await new Promise((resolve) => setTimeout(resolve, 110));
    await one.publish(report(1024), signal);
    node.gres = 'gpu:1,slackmem:20K';
    commands.length = 0;
    await new Promise((resolve) => setTimeout(resolve, 110));
    await one.publish(report(1024), signal);
    expect(commands).toEqual([]);
    one.doubt();
    await one.publish(report(1024), signal);
    expect(node.gres).toBe('gpu:1,slackmem:1536');
  });

  it('asks once in a while only where the site has no such GRES', async () => {
    const { commands, publisher: one } = publisher('gpu');
    await new Promise((resolve) => setTimeout(resolve, 2));
    await one.publish(report(1024), signal);
    expect(commands).toEqual(['scontrol show config']);
  });
});
