import { escapeXml } from './xml.ts';

/**
 * The XML of a saved machine with the places that it has on this node. libvirt takes nothing else but changed paths: devices and sizes must be those of the image (error 67).
 * `paths` are [as it was, as it is now], the longest first where one begins with another.
 */
export function retargetXml(xml: string, paths: readonly (readonly [string, string])[]): string {
  return paths.reduce((text, [from, to]) => text.replaceAll(`'${escapeXml(from)}`, `'${escapeXml(to)}`), xml);
}

/** Versioned machine type of a live XML. */
export function machineTypeOf(xml: string): string {
  return /<type [^>]*machine='([^']+)'/.exec(xml)?.[1] ?? 'unknown';
}
