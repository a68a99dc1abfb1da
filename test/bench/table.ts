import type { Figures } from './bench.ts';

/** Figures as indented lines, the values of a group in one column. */
export function tableOf(figures: Figures, indent = ''): string {
  const entries = Object.entries(figures);
  const width = Math.max(...entries.map(([name]) => name.length));
  return entries
    .map(([name, value]) =>
      typeof value === 'object' && value !== null
        ? `${indent}${name}\n${tableOf(value, `${indent}  `)}`
        : `${indent}${name.padEnd(width)}  ${value ?? '-'}`,
    )
    .join('\n');
}
