import { describe, expect, it } from 'vitest';

import { parseConfig } from '../../../src/config/load.ts';
import { GiB, MiB } from '../../../src/model/units.ts';

const parse = (text: string) => parseConfig(text, '/etc/caddis/caddis.toml');

describe('caddis.toml', () => {
  it('has a default for everything', () => {
    const config = parse('');
    expect(config.vm.base_memory).toBe(256 * MiB);
    expect(config.policy.on_unavailable).toBe('requeue');
    expect(config.storage.mount).toEqual([]);
  });

  it('reads sizes as text and as bytes', () => {
    expect(parse('[scratch]\nsize = "2G"').scratch.size).toBe(2 * GiB);
    expect(parse('[scratch]\nsize = 4096').scratch.size).toBe(4096);
  });

  it.each([
    ['[vm]\nbase_memry = "1G"', /base_memry/],
    ['[vm]\nbase_memory = "lots"', /"lots" is no size[\s\S]*base_memory/],
    ['[policy]\non_unavailable = "shrug"', /on_unavailable/],
    ['[[storage.mount]]\ntype = "nfs4"\nsource = "a:/b"\ntarget = "relative"', /absolute path/],
    ['[checkpoint]\nlease = 20', /three times the heartbeat[\s\S]*checkpoint\.lease/],
    ['run_dir = ', /not TOML/],
  ])('names the file and the field in %j', (text, message) => {
    expect(() => parse(text)).toThrow(message);
    expect(() => parse(text)).toThrow('/etc/caddis/caddis.toml');
  });
});
