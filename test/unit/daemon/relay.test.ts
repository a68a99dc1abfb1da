import { describe, expect, it } from 'vitest';

import { relayEnvironment } from '../../../src/daemon/relay.ts';

describe('the environment of a relayed command', () => {
  const given = { SLURM_JOB_ID: '7', SLURMD_NODENAME: 'n1', HOME: '/h' };
  const current = { SLURM_JOB_ID: '7', SLURMD_NODENAME: 'n2', HOME: '/h' };

  it('takes what the job left alone from the shim that is there now', () => {
    expect(relayEnvironment(given, current, given)).toEqual(current);
  });

  it('keeps what the job changed, and leaves away what it unset', () => {
    expect(relayEnvironment({ SLURMD_NODENAME: 'mine' }, current, given)).toEqual({
      SLURMD_NODENAME: 'mine',
    });
  });

  it('drops what names files of the guest and what is ours', () => {
    const caller = { LD_PRELOAD: '/x.so', LD_LIBRARY_PATH: '/l', CADDIS_KEY: 'slurm-7', LDFLAGS: '-g' };
    expect(relayEnvironment(caller, current, given)).toEqual({ LDFLAGS: '-g' });
    const step = { ...current, SLURM_CADDIS_RELAY: '5', SPANK_CADDIS_VM: 'on' };
    expect(relayEnvironment(current, step, current)).toEqual({ ...current, SPANK_CADDIS_VM: 'on' });
  });

  it("adds a scheduler's variable that only the new shim has, and nothing else of it", () => {
    const later = { ...current, SLURM_RESTART_COUNT: '1', PERL5LIB: '/p' };
    expect(relayEnvironment(given, later, given)).toEqual({ ...current, SLURM_RESTART_COUNT: '1' });
  });
});
