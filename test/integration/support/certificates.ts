import { execFile } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** PEM texts. The stranger signed itself. */
export interface TestCertificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly strangerCert: string;
  readonly strangerKey: string;
}

/** Makes a CA, one certificate for server and client at 127.0.0.1, and a stranger's, as `ca.pem`, `cert.pem`, `key.pem`, ... in `directory`. */
export async function makeCertificates(directory: string): Promise<TestCertificates> {
  await mkdir(directory, { recursive: true });
  const openssl = (args: string) => run('openssl', args.split(' '), { cwd: directory, timeout: 20_000 });
  const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2';
  await openssl(`${request} -subj /CN=caddis-test-ca -keyout ca.key -out ca.pem`);
  await openssl(`${request} -subj /CN=stranger -keyout stranger.key -out stranger.pem`);
  const names = '-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=CA:FALSE';
  await openssl(`${request} ${names} -CA ca.pem -CAkey ca.key -keyout key.pem -out cert.pem`);
  const text = (name: string) => readFile(join(directory, name), 'utf8');
  return {
    ca: await text('ca.pem'),
    cert: await text('cert.pem'),
    key: await text('key.pem'),
    strangerCert: await text('stranger.pem'),
    strangerKey: await text('stranger.key'),
  };
}
