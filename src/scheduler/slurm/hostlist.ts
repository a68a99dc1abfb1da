/** Above this a hostlist is no node list of a job but a mistake, or an attack on our memory. */
const MAX_HOSTS = 100_000;

/**
 * Names in a Slurm hostlist, in order: `n[1-2],gpu07` -> n1, n2, gpu07. Ranges keep their leading zeros. Undefined when it is none.
 * One bracket a name: more of them (`r[1-2]n[1-2]`) do not come out of slurmctld's SLURM_NODELIST in a form that needs them.
 */
export function expandHostlist(text: string): string[] | undefined {
  const names: string[] = [];
  const parts = text.match(/[^,[\]]*(?:\[[^\]]*\][^,[\]]*)?(?:,|$)/g) ?? [];
  if (parts.join('') !== text) return undefined;
  for (const part of parts) {
    const match = /^([^,[\]]*)(?:\[([\d,-]+)\]([^,[\]]*))?,?$/.exec(part);
    if (!match) return undefined;
    const [, before = '', ranges, after = ''] = match;
    if (ranges === undefined) {
      if (before !== '') names.push(before);
      continue;
    }
    for (const range of ranges.split(',')) {
      const [first = '', last = first] = range.split('-');
      if (!/^\d+$/.test(first) || !/^\d+$/.test(last)) return undefined;
      if (names.length + Number(last) - Number(first) > MAX_HOSTS) return undefined;
      for (let number = Number(first); number <= Number(last); number++)
        names.push(`${before}${String(number).padStart(first.length, '0')}${after}`);
    }
  }
  return names.length > 0 ? names : undefined;
}

/** One node's share of a compressed list of counts such as `4(x2),2` (SLURM_JOB_CPUS_PER_NODE), by the node's place; undefined if there is none. */
export function countAt(text: string, place: number): number | undefined {
  let first = 0;
  for (const part of text.split(',')) {
    const match = /^(\d+)(?:\(x(\d+)\))?$/.exec(part);
    if (!match) return undefined;
    first += Number(match[2] ?? 1);
    if (place < first) return Number(match[1]);
  }
  return undefined;
}

/** How many numbers a list such as `0-3,5` names (cores of slurmstepd). 0 for an empty or foreign text. */
export function countListed(text: string): number {
  if (!/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text)) return 0;
  return text
    .split(',')
    .map((range) => range.split('-').map(Number))
    .reduce((sum, [first = 0, last = first]) => sum + Math.max(0, last - first + 1), 0);
}
