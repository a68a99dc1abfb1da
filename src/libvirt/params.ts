import { type Decoder, type Encoder, XdrError } from './xdr.ts';

/** One of libvirt's typed parameters, on its way to the daemon. Names may repeat (e.g. `migrate_disks`), so lists are arrays. */
export type TypedParam =
  | { readonly name: string; readonly type: 'int' | 'uint'; readonly value: number }
  | { readonly name: string; readonly type: 'llong' | 'ullong'; readonly value: bigint | number }
  | { readonly name: string; readonly type: 'double'; readonly value: number }
  | { readonly name: string; readonly type: 'boolean'; readonly value: boolean }
  | { readonly name: string; readonly type: 'string'; readonly value: string };

/** Typed parameters as they come back: 32-bit integers and doubles are numbers, 64-bit ones bigints. */
export type ParamValues = Readonly<Record<string, number | bigint | boolean | string>>;

export type NumericType = 'int' | 'uint' | 'llong' | 'ullong' | 'double';

/** Wire numbers of virTypedParameterType (libvirt-common.h). */
const wireType = { int: 1, uint: 2, llong: 3, ullong: 4, double: 5, boolean: 6, string: 7 } as const;

/** Name length, type and a 4-byte value. */
const minimumBytes = 12;

export function encodeParams(to: Encoder, params: readonly TypedParam[]): Encoder {
  to.u32(params.length);
  for (const param of params) {
    to.string(param.name).u32(wireType[param.type]);
    switch (param.type) {
      case 'int':
        to.i32(param.value);
        break;
      case 'uint':
        to.u32(param.value);
        break;
      case 'llong':
        to.i64(param.value);
        break;
      case 'ullong':
        to.u64(param.value);
        break;
      case 'double':
        to.f64(param.value);
        break;
      case 'boolean':
        to.bool(param.value);
        break;
      case 'string':
        to.string(param.value);
        break;
    }
  }
  return to;
}

/** Decodes a typed parameter list. Throws XdrError for a type that does not exist. Of a repeated name the last value stays. */
export function decodeParams(from: Decoder): ParamValues {
  // A map without a prototype: the names come from the wire, and `__proto__` must be a name like any other.
  const values: Record<string, number | bigint | boolean | string> = Object.create(null);
  from.array(minimumBytes, () => {
    const name = from.string();
    values[name] = decodeValue(from, name);
  });
  return values;
}

/**
 * Turns `{ cpu_shares: 512 }` into typed parameters by a table of what libvirt expects for each name. Undefined values are left out.
 * Throws RangeError for a name that is not in the table: libvirt's own message would not say which names there are.
 */
export function paramsFrom<Name extends string>(
  types: Readonly<Record<Name, NumericType | 'string'>>,
  values: { readonly [K in Name]?: number | bigint | string | undefined },
): TypedParam[] {
  const params: TypedParam[] = [];
  for (const [name, value] of Object.entries<number | bigint | string | undefined>(values)) {
    if (value === undefined) continue;
    if (!Object.hasOwn(types, name))
      throw new RangeError(`expected one of ${Object.keys(types).join(', ')}, got parameter "${name}"`);
    const type = types[name as Name];
    if (type === 'string') params.push({ name, type, value: String(value) });
    else if (type === 'llong' || type === 'ullong') params.push({ name, type, value: BigInt(value) });
    else params.push({ name, type, value: Number(value) });
  }
  return params;
}

function decodeValue(from: Decoder, name: string): number | bigint | boolean | string {
  const type = from.u32();
  switch (type) {
    case wireType.int:
      return from.i32();
    case wireType.uint:
      return from.u32();
    case wireType.llong:
      return from.i64();
    case wireType.ullong:
      return from.u64();
    case wireType.double:
      return from.f64();
    case wireType.boolean:
      return from.bool();
    case wireType.string:
      return from.string();
    default:
      throw new XdrError(`expected a typed parameter type from 1 to 7 for "${name}", got ${type}`);
  }
}
