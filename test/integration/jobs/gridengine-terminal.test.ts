import { rm } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';

import type { Lab } from '../../lab/host.ts';
import { jobDirectory } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { atTerminal } from '../support/terminal.ts';

/** `qrsh -pty y bash` at a real terminal, natively and in a machine. */
describe.each([['native.q'], ['all.q']])('an interactive shell in queue %s', (queue) => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
  });

  const pty = (directory: string) =>
    `cd ${directory}; (until [ -e resize ]; do sleep 0.1; done; stty rows 40 cols 90 < /dev/tty) & ` +
    `qrsh -now n -cwd -pty y -q ${queue} -l h_vmem=300M bash --norc --noprofile -i; echo "qrsh ended with $?"`;

  it('has the size of the terminal, follows it, and ends with its status', async () => {
    const directory = await jobDirectory(lab);
    const shown = await atTerminal(
      lab,
      pty(directory),
      [
        { after: /\$ /, text: `PS1='rea''dy> '; tty; stty size\n` },
        { after: /33 101[\s\S]*ready> /, text: 'touch resize\n' },
        {
          after: /ready> /,
          text: 'until [ "$(stty size)" = "40 90" ]; do sleep 0.1; done; echo "resi"zed\n',
        },
        { after: /resized/, text: 'exit 7\n' },
      ],
      { timeoutMs: 100_000 },
    );
    expect(shown).toMatch(/\/dev\/pts\/\d+/);
    expect(shown).toMatch(/qrsh ended with 7/);
    await rm(directory, { recursive: true, force: true });
  });

  it('has ^C, ^Z, job control and ^D', async () => {
    const directory = await jobDirectory(lab);
    const shown = await atTerminal(
      lab,
      pty(directory),
      [
        { after: /\$ /, text: `PS1='rea''dy> '\n` },
        { after: /ready> /, text: `bash -c 'echo star""ted; exec sleep 1000'\n` },
        { after: /[\r\n]started/, text: '\x03' },
        {
          after: /ready> /,
          text: `echo "interrupted $?"; bash -c 'echo sec""ond; exec sleep 1000'\n`,
        },
        { after: /[\r\n]second/, text: '\x1a' },
        { after: /Stopped[\s\S]*ready> /, text: 'jobs; kill %1; wait; echo "con"trolled\n' },
        { after: /[\r\n]controlled[\s\S]*ready> /, text: '\x04' },
      ],
      { timeoutMs: 100_000 },
    );
    expect(shown).toMatch(/interrupted 130/);
    expect(shown).toMatch(/\[1\]\+ +Stopped +bash -c/);
    expect(shown).toMatch(/qrsh ended with/);
    await rm(directory, { recursive: true, force: true });
  });
});
