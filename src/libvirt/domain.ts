import { type Decoder, type Encoder, XdrError } from './xdr.ts';

/** A domain as libvirt names it. The uuid is what the daemon goes by; the id is -1 for one that does not run. */
export interface Domain {
  readonly name: string;
  /** Lower case with dashes. */
  readonly uuid: string;
  readonly id: number;
}

/** Name length, uuid and id. */
export const domainMinimumBytes = 24;
const uuidBytes = 16;

export function encodeDomain(to: Encoder, domain: Domain): Encoder {
  return encodeUuid(to.string(domain.name), domain.uuid).i32(domain.id);
}

export function decodeDomain(from: Decoder): Domain {
  const name = from.string();
  const hex = from.fixedOpaque(uuidBytes).toString('hex');
  const uuid = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  if (name === '') throw new XdrError(`expected a domain with a name, got none for uuid ${uuid}`);
  return { name, uuid, id: from.i32() };
}

/** Throws RangeError for what is no uuid. */
export function encodeUuid(to: Encoder, uuid: string): Encoder {
  const hex = uuid.replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/i.test(hex)) throw new RangeError(`expected a uuid, got "${uuid}"`);
  return to.fixedOpaque(Buffer.from(hex, 'hex'));
}
