import { readFileSync } from 'node:fs';

import { parse } from 'smol-toml';
import * as z from 'zod';

import { CaddisError, messageOf } from '../model/errors.ts';
import { type Config, configSchema } from './schema.ts';

export const DEFAULT_CONFIG_PATH = '/etc/caddis/caddis.toml';

/**
 * Reads and checks caddis.toml. A missing file is an empty one only at the default path.
 * Throws CaddisError that names the file, the field, what was expected and what stands there.
 */
export function loadConfig(path = DEFAULT_CONFIG_PATH): Config {
  return parseConfig(readText(path), path);
}

/** The same for text that is already there; `path` is for messages. */
export function parseConfig(text: string, path: string): Config {
  let table: unknown;
  try {
    table = parse(text);
  } catch (error) {
    throw new CaddisError(`${path}: not TOML: ${messageOf(error)}`);
  }
  const result = configSchema.safeParse(table);
  if (result.success) return result.data;
  throw new CaddisError(`${path}: ${z.prettifyError(result.error)}`);
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (path === DEFAULT_CONFIG_PATH && (error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw new CaddisError(`cannot read the configuration: ${messageOf(error)}`);
  }
}
