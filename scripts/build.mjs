// Builds everything that runs: TypeScript bundles into dist/, C programs into build/. `npm run build`.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const quiet = process.argv.includes('--quiet');

const bundles = [
  { entry: 'src/daemon/main.ts', out: 'dist/caddisd.cjs' },
  { entry: 'src/cli/main.ts', out: 'dist/caddis.cjs' },
  { entry: 'hooks/gridengine/jsv.ts', out: 'dist/caddis-jsv.cjs' },
];
const programs = ['src/guest/init', 'hooks/client', 'hooks/slurm/spank'];

await mkdir(join(root, 'dist'), { recursive: true });
await mkdir(join(root, 'build'), { recursive: true });
await Promise.all(bundles.filter(({ entry }) => existsSync(join(root, entry))).map(bundle));
for (const dir of programs) make(dir);

/** One file per program: it starts faster than a tree of modules, and needs no node_modules on the node. */
async function bundle({ entry, out }) {
  await build({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile: out,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    sourcemap: 'linked',
    logLevel: 'warning',
    // A CommonJS bundle has no import.meta; what asks for its own place gets it from __filename.
    define: { 'import.meta.url': 'caddisBundleUrl', CADDIS_VERSION: JSON.stringify(version) },
    banner: {
      js: '#!/usr/bin/env node\nconst caddisBundleUrl = require("node:url").pathToFileURL(__filename).href;',
    },
  });
  await chmod(join(root, out), 0o755);
  if (!quiet) console.log(`built ${out}`);
}

function make(dir) {
  if (!existsSync(join(root, dir, 'Makefile'))) return;
  const result = spawnSync('make', ['-s', '-C', dir], { cwd: root, stdio: 'inherit' });
  if (result.status !== 0) {
    console.error(`building ${dir} failed: run "make -C ${dir}" to see why`);
    process.exit(1);
  }
  if (!quiet) console.log(`built ${dir}`);
}
