import { execa } from 'execa';

import { messageOf, NodeUnfit } from '../../model/errors.ts';

/** What a bucket may send at once: some frames of a 64 KiB segment. */
const BURST_BYTES = 128 * 1024;
const LATENCY_MS = 200;

/**
 * Bounds what a machine receives, by a token bucket on its tap. Not by libvirt's <bandwidth>, which wants the sfq scheduler of kernels that have it. What a machine sends is
 * bounded by a rule beside those against spoofing. 0 = no bound. Throws NodeUnfit: a job must not run faster than the site allows.
 */
export async function throttleInbound(tap: string, kilobytesPerSecond: number): Promise<void> {
  if (kilobytesPerSecond === 0) return;
  const rate = [
    'rate',
    `${kilobytesPerSecond * 8}kbit`,
    'burst',
    `${BURST_BYTES}`,
    'latency',
    `${LATENCY_MS}ms`,
  ];
  try {
    await execa('/sbin/tc', ['qdisc', 'replace', 'dev', tap, 'root', 'tbf', ...rate], {
      timeout: 10_000,
      stdin: 'ignore',
    });
  } catch (error) {
    throw new NodeUnfit(
      `cannot bound what a machine receives (network.inbound_kilobytes_per_second): ${messageOf(error)}`,
      {
        wholeNode: true,
        cause: error,
      },
    );
  }
}
