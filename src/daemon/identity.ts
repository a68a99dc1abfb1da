import { execa } from 'execa';

import { CaddisError, messageOf } from '../model/errors.ts';
import type { Identity } from '../model/identity.ts';

/** Looks a user up by uid through getent(1), so that LDAP, SSSD and files all count. Throws CaddisError when the node does not know the uid. */
export async function identityOf(uid: number): Promise<Identity> {
  const passwd = await getent('passwd', String(uid));
  const [name, , , gidText] = passwd.split(':');
  const gid = Number(gidText);
  if (!name || !Number.isInteger(gid))
    throw new CaddisError(`uid ${uid} has no usable passwd entry on this node: "${passwd}"`);
  const ids = await execa('id', ['-G', name], { timeout: 10_000, stdin: 'ignore' }).then(
    (result) => result.stdout.split(/\s+/).map(Number).filter(Number.isInteger),
    (error: unknown) => {
      throw new CaddisError(`cannot read the groups of ${name}: ${messageOf(error)}`);
    },
  );
  const groups = [...new Set([gid, ...ids])];
  const lines = await Promise.all(
    groups.map((group) => getent('group', String(group)).catch(() => undefined)),
  );
  return { name, uid, gid, groups, passwd, groupLines: lines.filter((line) => line !== undefined) };
}

async function getent(database: string, key: string): Promise<string> {
  try {
    const { stdout } = await execa('getent', [database, key], { timeout: 10_000, stdin: 'ignore' });
    return stdout.split('\n')[0] ?? '';
  } catch (error) {
    throw new CaddisError(`getent ${database} ${key}: not known on this node`, { cause: error });
  }
}
