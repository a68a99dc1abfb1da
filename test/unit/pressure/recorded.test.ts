import { describe, expect, it } from 'vitest';

import { readSeries, replay, type Series } from './replay.ts';

const MiB = 1024 * 1024;
const measures = (of: Series) =>
  replay(of).map(({ verdict }) => verdict.acts.map(({ measure }) => measure.do).join(' '));

describe.each(['slurm', 'gridengine'])('an owner that woke up in a lab, under %s', (system) => {
  const series = readSeries(`wakes-up-${system}`);
  const wakes = series.looks.findIndex(({ samples }) => (samples[0]?.[2] ?? 0) >= 4);

  it('has the CPUs in the very look that shows it, and nobody is touched while it sleeps', () => {
    const said = measures(series);
    const residentMib = (look: number) => series.looks[look]?.samples[0]?.[0] ?? 0;
    const sleeps = series.looks.findIndex((_, look) => residentMib(look) > residentMib(0) + 4);
    expect(sleeps).toBeGreaterThan(1);
    expect(said.slice(0, sleeps).join('')).toBe('');
    expect(said[wakes]).toContain('freeze');
  });

  it('has its memory asked back while there is more left than it took in the time that was predicted', () => {
    const all = replay(series);
    const at = all.findIndex(({ verdict }) => verdict.acts.some(({ measure }) => measure.do === 'evict'));
    const { left_bytes = 0, predicted_give_back_ms = 0 } = all[at]?.verdict.numbers ?? {};
    const atMs = series.looks[at]?.atMs ?? 0;
    const then = series.looks.findIndex((look) => look.atMs >= atMs + predicted_give_back_ms);
    const residentMib = (look: number) => series.looks[look]?.samples[0]?.[0] ?? 0;
    expect(predicted_give_back_ms).toBeGreaterThan(3_000);
    expect(then).toBeGreaterThan(at);
    expect((residentMib(then) - residentMib(at)) * MiB).toBeLessThan(left_bytes);
    // It went on to take what the borrower had.
    expect(Math.max(...series.looks.map((_, look) => residentMib(look)))).toBeGreaterThan(
      residentMib(at) + 400,
    );
  });

  it('is not helped at the cost of a borrower where the node has enough for both', () => {
    const roomy = { ...series, node: { ...series.node, cpus: 12, capacityBytes: 4096 * MiB } };
    expect(measures(roomy).join('')).toBe('');
  });

  it('gets nothing new while its numbers are missing', () => {
    const blind = {
      ...series,
      looks: series.looks.map((look, i) => ({
        ...look,
        // Its process is there, and nobody could read of it.
        samples: i > 0 ? [null, look.samples[1] ?? null] : look.samples,
      })),
    };
    expect(measures(blind).join('')).toBe('');
  });
});
