import { execa } from 'execa';

import { messageOf, NodeUnfit } from '../../model/errors.ts';

const TABLE = 'caddis';

/**
 * Bridge rules of a node: a frame that enters from a machine's tap passes only with the MAC and IPv4 address that the machine was given; everything but IPv4 and
 * ARP is dropped there (no IPv6, no VLAN tags). One set element per machine, so that adding one does not touch the others.
 */
const rules = (outboundKilobytesPerSecond: number) => `
table bridge ${TABLE} {
  set machines { type ifname . ether_addr . ipv4_addr; }
  set senders { type ifname; flags dynamic; }
  chain from_guest {
    ether type ip iifname . ether saddr . ip saddr @machines accept
    arp operation { request, reply } iifname . arp saddr ether . arp saddr ip @machines accept
    drop
  }
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    ${throttle(outboundKilobytesPerSecond)}
    iifname "cad-*" jump from_guest
  }
}
`;

export interface GuestPort {
  readonly tap: string;
  readonly mac: string;
  readonly address: string;
}

/** One bucket for each tap: what is above the rate is dropped, and TCP slows down. */
function throttle(kilobytesPerSecond: number): string {
  if (kilobytesPerSecond === 0) return '';
  const limit = `limit rate over ${kilobytesPerSecond} kbytes/second burst ${Math.max(Math.round(kilobytesPerSecond / 8), 64)} kbytes`;
  return `iifname "cad-*" update @senders { iifname ${limit} } drop`;
}

/**
 * Installs the table afresh with the ports of the machines that run, and with a bound on what each may send (0 = none). Throws NodeUnfit when nft refuses: without the
 * rules no machine may have a NIC.
 */
export async function installAntiSpoof(
  ports: readonly GuestPort[],
  outboundKilobytesPerSecond: number,
): Promise<void> {
  const elements =
    ports.length > 0 ? `add element bridge ${TABLE} machines { ${ports.map(element).join(', ')} }` : '';
  await nft(
    `table bridge ${TABLE}\ndelete table bridge ${TABLE}\n${rules(outboundKilobytesPerSecond)}\n${elements}\n`,
  );
}

/** Lets one more machine through. To be called before its NIC exists. */
export async function allowPort(port: GuestPort): Promise<void> {
  await nft(`add element bridge ${TABLE} machines { ${element(port)} }\n`);
}

/** Takes a machine's permission back; one that is not there is no error. When this resolves, no frame of it passes any more. */
export async function denyPort(port: GuestPort): Promise<void> {
  const set = `element bridge ${TABLE} machines { ${element(port)} }`;
  // In one step: what was just added can be deleted, whether it was there before or not.
  await nft(`add ${set}\ndelete ${set}\n`);
}

/** Name of a machine's tap: IFNAMSIZ leaves 15 characters. */
export function tapName(machine: string): string {
  return `cad-${machine.slice(-10)}`;
}

function element(port: GuestPort): string {
  return `"${port.tap}" . ${port.mac} . ${port.address}`;
}

async function nft(script: string): Promise<void> {
  try {
    await execa('/usr/sbin/nft', ['-f', '-'], { input: script, timeout: 10_000 });
  } catch (error) {
    throw new NodeUnfit(`cannot install the bridge rules against address spoofing: ${messageOf(error)}`, {
      wholeNode: true,
      cause: error,
    });
  }
}
