import { createHash } from 'node:crypto';

/** One run of the counter, from its first line to its last. */
export interface Run {
  readonly name: string;
  readonly lines: number;
}

/**
 * What the counter's lines say: its runs in the order in which they wrote, or what is wrong. A run whose lines come back after those of another was a second copy; a number
 * that is missing, repeated or out of order, or a hash that is not that of the lines before, is output that was lost, written twice or changed.
 */
export function readRuns(text: string): {
  readonly runs: readonly Run[];
  readonly wrong: string | undefined;
} {
  const runs: { name: string; lines: number }[] = [];
  let seen = createHash('sha256');
  const lines = text.split('\n');
  // What is being written at this moment has no end of line yet.
  lines.pop();
  for (const [index, line] of lines.entries()) {
    const match = /^([0-9a-f]{8}) (\d+) ([0-9a-f]{16})$/.exec(line);
    const where = `line ${index + 1}`;
    if (!match)
      return { runs, wrong: `${where} is no line of the counter: ${JSON.stringify(line.slice(0, 80))}` };
    const [, name = '', number = '', hash = ''] = match;
    let run = runs.at(-1);
    if (run?.name !== name) {
      if (runs.some((other) => other.name === name))
        return {
          runs,
          wrong: `${where}: two copies at a time: run ${name} goes on after run ${run?.name} has begun`,
        };
      run = { name, lines: 0 };
      runs.push(run);
      seen = createHash('sha256');
    }
    if (Number(number) !== run.lines + 1)
      return { runs, wrong: `${where}: run ${name} says ${number} after ${run.lines}` };
    if (seen.copy().digest('hex').slice(0, 16) !== hash)
      return {
        runs,
        wrong: `${where}: run ${name} has counted other lines before ${number} than stand here`,
      };
    seen.update(`${line}\n`);
    run.lines += 1;
  }
  return { runs, wrong: undefined };
}

/** The line with which a run ends that has kept its scratch disk and its memory. */
export function lastWords({ name, lines }: Run): string {
  return `end ${name} ${lines} scratch=True memory=True\nstatus 3\n`;
}

/**
 * What is wrong with a finished job's standard output, which holds the same lines. `appended`: the scheduler appends the output of each start; the runs before the last one were lost
 * with their machines, and some of their last lines may be too.
 */
export function outputTrouble(
  stdout: string,
  { runs, appended }: { readonly runs: readonly Run[]; readonly appended: boolean },
): string | undefined {
  const last = runs.at(-1);
  if (!last) return 'the counter never ran';
  const end = lastWords(last);
  if (!stdout.endsWith(end))
    return `it does not end with ${JSON.stringify(end)} but ${JSON.stringify(stdout.slice(-120))}`;
  const said = readRuns(stdout.slice(0, -end.length));
  if (said.wrong !== undefined) return said.wrong;
  const whole = said.runs.at(-1);
  if (whole?.name !== last.name || whole.lines !== last.lines)
    return `it has ${whole?.lines ?? 0} lines of run ${whole?.name}, the job wrote ${last.lines} in run ${last.name}`;
  const earlier = said.runs.slice(0, -1);
  if (earlier.length > 0 && !appended) return `output of an earlier run is left in it: ${earlier[0]?.name}`;
  for (const run of earlier) {
    const known = runs.find(({ name }) => name === run.name);
    if (!known || known.lines < run.lines) return `it has more of run ${run.name} than the job wrote`;
  }
  return undefined;
}
