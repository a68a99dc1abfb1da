import type { RunCommand } from '../run-program.ts';

type Health = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Marks a host as closed by us, with the reason, in its complex_values; see docs/decisions/0020-gridengine-node-health.md. */
const REASON_COMPLEX = 'caddis_down';

/**
 * Closes this host's queue instances that have our prolog, or opens those that we closed. What an admin disabled stays disabled.
 * Whether it was us is kept at the qmaster (the host's own complex value), so that it survives this daemon. Idempotent.
 */
export async function setNodeHealth(
  host: string,
  health: Health,
  run: RunCommand,
  signal: AbortSignal,
): Promise<void> {
  const closedByUs = /\bcaddis_down=/.test(await run(['qconf', '-se', host], signal));
  if (health.ok) {
    if (!closedByUs) return;
    await run(['qmod', '-e', `*@${host}`], signal);
    await run(['qconf', '-dattr', 'exechost', 'complex_values', REASON_COMPLEX, host], signal);
    return;
  }
  // The mark first: a crash between the two leaves a mark on an open host, which the next "ok" clears.
  const value = `${REASON_COMPLEX}=${complexText(`caddis: ${health.reason}`)}`;
  await run(['qconf', '-mattr', 'exechost', 'complex_values', value, host], signal);
  if (!closedByUs) await run(['qmod', '-d', `*@${host}`], signal);
}

/** A STRING complex value: no spaces, commas or equal signs (complex(5)); bounded. */
export function complexText(text: string): string {
  return text.replace(/[^A-Za-z0-9._:/+-]+/g, '_').slice(0, 200);
}
