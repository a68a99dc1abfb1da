// Makes a fresh clone ready to run: Node's version, Debian packages, npm modules, the build. npm runs it before `lab`,
// `demo`, `test` and `bench`. Built-in modules only, since node_modules may not exist yet. Where the inputs of a step
// are as its stamp in .stamps/ says and its result is still there, the step is skipped (all of it in < 50 ms).
// `--quiet`: prints only what it does, nothing when there is nothing to do.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const stamps = join(root, '.stamps');
const quiet = process.argv.includes('--quiet');
const neededNodeMajor = 20;
// biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholders
const statusFormat = '${Package} ${db:Status-Abbrev}\n';
/** Policy that forbids packages to start their services: the lab runs its own, and a node's must not surprise. */
const policyFile = '/usr/sbin/policy-rc.d';

checkNode();
mkdirSync(stamps, { recursive: true });
const steps = [
  ['packages', packagesHash, packagesPresent, installPackages],
  ['modules', modulesHash, modulesPresent, installModules],
  ['build', buildHash, buildPresent, build],
];
const done = steps
  .filter(([name, hash, present, run]) => runStep(name, hash, present, run))
  .map(([name]) => name);
if (!quiet && done.length === 0) console.log('bootstrap: nothing to do');

/** Returns whether there was something to do. */
function runStep(name, hash, present, run) {
  const stamp = join(stamps, name);
  const wanted = hash();
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted && present()) return false;
  const started = performance.now();
  const worked = run();
  // The step may have changed its own inputs; what it was run for is what counts.
  writeFileSync(stamp, wanted);
  if (worked)
    console.error(`bootstrap: ${name} ready in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return worked;
}

function checkNode() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= neededNodeMajor) return;
  fail(
    `Node ${neededNodeMajor} or later is needed, this is ${process.versions.node}: install Debian's nodejs or from nodejs.org`,
  );
}

function packages() {
  const lines = readFileSync(join(root, 'scripts/debian-packages.txt'), 'utf8').split('\n');
  return lines.map((line) => line.replace(/#.*/, '').trim()).filter((name) => name !== '');
}

/** Besides the list, dpkg's own state: whatever was installed or removed since makes the probe run again. */
function packagesHash() {
  const dpkg = '/var/lib/dpkg/status';
  const state = existsSync(dpkg) ? String(statSync(dpkg).mtimeMs) : 'no dpkg';
  return hashOf(packages().join(' '), state);
}

function packagesPresent() {
  return true; // dpkg's state is in the hash
}

function missingPackages() {
  const query = spawnSync('dpkg-query', ['-W', '-f', statusFormat, ...packages()], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (query.error) fail('dpkg-query is missing: the lab needs Debian 12 (or Ubuntu), see README.md');
  const installed = new Set(
    query.stdout.split('\n').flatMap((line) => {
      const [name, status] = line.split(' ');
      return status?.startsWith('ii') ? [name] : [];
    }),
  );
  return packages().filter((name) => !installed.has(name));
}

function installPackages() {
  const missing = missingPackages();
  if (missing.length === 0) return false;
  const install = ['install', '-y', '--no-install-recommends', ...missing];
  if (process.getuid() !== 0)
    fail(`these Debian packages are missing; run as root:\n  apt-get update && apt-get ${install.join(' ')}`);
  console.error(`bootstrap: installing ${missing.length} Debian packages: ${missing.join(' ')}`);
  const policyWasThere = existsSync(policyFile);
  if (!policyWasThere) writeFileSync(policyFile, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    apt('update', '-qq');
    apt(...install);
  } finally {
    if (!policyWasThere) rmSync(policyFile, { force: true });
  }
  const still = missingPackages();
  if (still.length > 0) fail(`apt-get did not install ${still.join(' ')}; see its messages above`);
  // dpkg's state changed, so the stamp that is now written is of before: the next run probes once more, and is quick.
  return true;
}

function apt(...args) {
  // RUNLEVEL=1: on a machine with System V links, invoke-rc.d starts nothing either.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const options = ['-o', 'DPkg::Lock::Timeout=120', '-o', 'Dpkg::Use-Pty=0', '-qq'];
  const result = spawnSync('apt-get', [...options, ...args], { stdio: ['ignore', 2, 2], env });
  if (result.status !== 0) fail(`apt-get ${args.join(' ')} failed: see its messages above`);
}

function modulesHash() {
  return hashOf(readFileSync(join(root, 'package-lock.json')), process.versions.modules);
}

/** npm writes this file last. */
function modulesPresent() {
  return existsSync(join(root, 'node_modules/.package-lock.json'));
}

/**
 * Not `npm ci`: it refuses a lock file without the packages of platforms (Android, Darwin, ...) that our registry does
 * not carry, and it would delete node_modules under a running lab. --no-save leaves the lock file as it is.
 */
function installModules() {
  if (handMade()) return false;
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'];
  const result = spawnSync('npm', args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (result.status !== 0) fail(`npm ${args.join(' ')} failed: see its messages above`);
  return true;
}

/** No stamp, but a developer ran npm here after the lock file was last written. */
function handMade() {
  const written = join(root, 'node_modules/.package-lock.json');
  if (existsSync(join(stamps, 'modules')) || !existsSync(written)) return false;
  return statSync(written).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs;
}

/** Names, sizes and times of all that the build reads: ten times faster than the contents. */
function buildHash() {
  const files = ['scripts/build.mjs', 'package.json', ...['src', 'hooks'].flatMap(filesBelow)];
  const facts = files
    .filter((file) => existsSync(join(root, file)))
    .map((file) => {
      const { size, mtimeMs } = statSync(join(root, file));
      return `${file} ${size} ${mtimeMs}`;
    });
  return hashOf(facts.join('\n'));
}

function buildPresent() {
  return existsSync(join(root, 'dist')) && existsSync(join(root, 'build'));
}

function build() {
  const args = ['scripts/build.mjs', ...(quiet ? ['--quiet'] : [])];
  const result = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (result.status !== 0) fail('the build failed: see its messages above');
  return true;
}

/** Sources only: what a build leaves among them must not count as a change. */
function filesBelow(directory) {
  return readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return /\.(ts|mjs|c|h|sh|json)$|^Makefile$/.test(entry.name) ? [path] : [];
  });
}

function hashOf(...parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex');
}

function fail(message) {
  console.error(`bootstrap: ${message}`);
  process.exit(1);
}
