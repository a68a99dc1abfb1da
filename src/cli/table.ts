/**
 * Lays rows out in columns two blanks apart, the header in capitals; numbers are for the caller to format. An empty list gives the header alone. Names of jobs are their users' text,
 * and root's terminal shows it: control characters are none.
 */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header.map((name) => name.toUpperCase()), ...rows].map((row) =>
    row.map((cell) => cell.replace(/\s/g, ' ').replace(/\p{Cc}/gu, '?')),
  );
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
