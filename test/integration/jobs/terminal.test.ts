import { rm } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';

import type { Lab } from '../../lab/host.ts';
import { jobDirectory } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { atTerminal } from '../support/terminal.ts';

const SHELL = 'bash --norc --noprofile -i';
const SRUN = `srun -Q --mem=200M -t 5 --pty`;
const QRSH = 'qrsh -now n -cwd -pty y -l h_vmem=300M';

/** A shell of each scheduler at a real terminal, natively and in a machine. */
describe.each([
  ['srun --pty, natively', `${SRUN} -p native ${SHELL}`],
  ['srun --pty, in a machine', `${SRUN} -p main ${SHELL}`],
  ['qrsh -pty y, natively', `${QRSH} -q native.q ${SHELL}`],
  ['qrsh -pty y, in a machine', `${QRSH} -q all.q ${SHELL}`],
])('an interactive shell by %s', (_, command) => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
  });

  const pty = (directory: string) =>
    `cd ${directory}; (until [ -e resize ]; do sleep 0.1; done; stty rows 40 cols 90 < /dev/tty) & ` +
    `${command}; echo "shell ended with $?"`;
  // qrsh carries no PS1 there.
  const prompt = { after: /\$ /, text: `PS1='rea''dy> '\n` };

  it('has the size of the terminal, follows it, and ends with its status', async () => {
    const directory = await jobDirectory(lab);
    const shown = await atTerminal(
      lab,
      pty(directory),
      [
        prompt,
        { after: /ready> /, text: 'tty; stty size; touch resize\n' },
        {
          after: /33 101[\s\S]*ready> /,
          text: 'until [ "$(stty size)" = "40 90" ]; do sleep 0.1; done; echo "resi"zed\n',
        },
        { after: /resized/, text: 'exit 7\n' },
      ],
      { timeoutMs: 100_000 },
    );
    expect(shown).toMatch(/\/dev\/pts\/\d+/);
    expect(shown).toMatch(/shell ended with 7/);
    await rm(directory, { recursive: true, force: true });
  });

  it('has ^C, ^Z, job control and ^D', async () => {
    const directory = await jobDirectory(lab);
    const shown = await atTerminal(
      lab,
      pty(directory),
      [
        prompt,
        { after: /ready> /, text: `bash -c 'echo star""ted; exec sleep 1000'\n` },
        { after: /[\r\n]started/, text: '\x03' },
        {
          after: /\^C[\s\S]*ready> /,
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
    expect(shown).toMatch(/shell ended with/);
    await rm(directory, { recursive: true, force: true });
  });
});
