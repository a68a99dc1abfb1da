import { createHash } from 'node:crypto';

import * as z from 'zod';

import { messageOf } from '../model/errors.ts';
import { CheckpointRefused } from './errors.ts';
import { MANIFEST_VERSION, type Manifest, manifestSchema } from './manifest-schema.ts';

/** What a manifest may have at most: a domain's XML, facts, and the extents of a scratch disk, which `mapExtents` bounds. */
export const MANIFEST_MAX_BYTES = 16 * 1024 * 1024;

/** The tail of every manifest: the hash of all bytes before it, so that one changed bit anywhere is found. */
const TAIL = /,\n {2}"sha256": "([0-9a-f]{64})"\n\}\n$/;
const TAIL_BYTES = ',\n  "sha256": ""\n}\n'.length + 64;

/** The bytes of `manifest.json`. Throws CheckpointRefused for a manifest that could not be read again. */
export function encodeManifest(manifest: Manifest): Buffer {
  const body = JSON.stringify(parse(manifest, 'manifest to write'), undefined, 2).slice(0, -'\n}'.length);
  const bytes = Buffer.from(`${body},\n  "sha256": "${sha256(Buffer.from(body))}"\n}\n`);
  if (bytes.length > MANIFEST_MAX_BYTES)
    throw new CheckpointRefused(
      `manifest to write: expected at most ${MANIFEST_MAX_BYTES} bytes, it has ${bytes.length}`,
    );
  return bytes;
}

/** Inverse of encodeManifest. `path` is for messages. Throws CheckpointRefused that says what is wrong with it. */
export function decodeManifest(content: Uint8Array, path: string): Manifest {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const value = parseJson(bytes, path);
  const version =
    typeof value === 'object' && value !== null && 'version' in value ? value.version : undefined;
  if (version !== MANIFEST_VERSION)
    throw new CheckpointRefused(
      `${path}: expected manifest version ${MANIFEST_VERSION}, it has ${JSON.stringify(version) ?? 'none'}; another version of Caddis wrote it`,
    );
  const { sha256: _, ...rest } = value as Record<string, unknown>;
  checkHash(bytes, path);
  return parse(rest, path);
}

function parseJson(bytes: Buffer, path: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new CheckpointRefused(`${path}: torn or damaged: ${messageOf(error)}`);
  }
}

function checkHash(bytes: Buffer, path: string): void {
  const written = TAIL.exec(bytes.subarray(-TAIL_BYTES).toString('latin1'))?.[1];
  const actual = sha256(bytes.subarray(0, -TAIL_BYTES));
  if (written !== actual)
    throw new CheckpointRefused(
      `${path}: damaged: its content has sha256 ${actual}, it says ${written ?? 'none'}`,
    );
}

function parse(value: unknown, path: string): Manifest {
  const result = manifestSchema.safeParse(value);
  if (result.success) return result.data;
  throw new CheckpointRefused(`${path}: ${z.prettifyError(result.error)}`);
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
