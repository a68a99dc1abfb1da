import { spawn } from 'node:child_process';
import { constants } from 'node:os';

import type { Lab } from './host.ts';
import { schedulers } from './parts.ts';

/** What `lab sh` runs: where, as whom, and what; no command means an interactive shell. */
export interface ShellRequest {
  readonly host: string;
  readonly user: string;
  readonly command: readonly string[];
}

/**
 * Runs a command on a lab host with this process's stdin, stdout, stderr and terminal, in the user's home and with
 * both schedulers' environment. Resolves to its exit status, 128 + signal if it was killed.
 */
export async function shell(lab: Lab, request: ShellRequest): Promise<number> {
  const [file, ...args] = await shellCommand(lab, request);
  const child = spawn(file as string, args, { stdio: 'inherit' });
  // ^C and ^\ reach the command through the terminal; this process waits for what it makes of them.
  const ignored: NodeJS.Signals[] = ['SIGINT', 'SIGQUIT'];
  for (const name of ignored) process.on(name, () => {});
  for (const name of ['SIGTERM', 'SIGHUP'] as const) process.on(name, () => child.kill(name));
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, name) => resolve(code ?? 128 + (name ? constants.signals[name] : 0)));
  });
}

/** The argv for a request, for those who run it with streams of their own. */
export async function shellCommand(lab: Lab, { host, user, command }: ShellRequest): Promise<string[]> {
  const hosts = [lab.head, ...lab.nodes];
  const place = hosts.find(({ name }) => name === host);
  if (!place)
    throw new Error(`no host "${host}" in the lab; there are ${hosts.map(({ name }) => name).join(', ')}`);
  const environment = { ...(await userEnvironment(lab)), ...identityEnvironment(lab, user) };
  const assignments = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const switchUser = ['setpriv', '--reuid', user, '--regid', user, '--init-groups'];
  const wanted = command.length > 0 ? command : ['bash', '-i'];
  const asUser = user === 'root' ? [] : switchUser;
  return [...place.prefix, ...asUser, 'env', '-i', '-C', environment.HOME, ...assignments, ...wanted];
}

/** What both schedulers' clients need. A name that both set is an error in the lab. */
async function userEnvironment(lab: Lab): Promise<Record<string, string>> {
  const environments = (await schedulers()).map((scheduler) => scheduler.environment(lab));
  const path = environments.flatMap(({ PATH }) => (PATH ? PATH.split(':') : []));
  return {
    ...Object.assign({}, ...environments),
    PATH: [...new Set([...path, ...systemPath])].join(':'),
  };
}

const systemPath = ['/usr/local/bin', '/usr/bin', '/bin', '/usr/local/sbin', '/usr/sbin', '/sbin'];

function identityEnvironment(lab: Lab, user: string): Record<string, string> & { HOME: string } {
  const home = user === 'root' ? '/root' : lab.users.find(({ name }) => name === user)?.home;
  if (!home) {
    const names = ['root', ...lab.users.map(({ name }) => name)].join(', ');
    throw new Error(`no user "${user}" in the lab; there are ${names}`);
  }
  const terminal = process.env.TERM ? { TERM: process.env.TERM } : {};
  return { HOME: home, USER: user, LOGNAME: user, SHELL: '/bin/bash', LANG: 'C.UTF-8', ...terminal };
}
