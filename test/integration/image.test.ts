import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { buildImage, type ImageRecipe } from '../../src/guest/image/build.ts';
import { ensureImage } from '../../src/guest/image/ensure.ts';
import { ImageStore } from '../../src/guest/image/store.ts';

/**
 * The smallest PID 1 that shows whether an image's three parts fit together: loads /modules in order, mounts the root, runs a script in it.
 * Its own, so that a failure here is the image's and not caddis-init's.
 */
const INIT = `
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void try(const char *what, int result) { if (result) printf("FAILED %s: %s\\n", what, strerror(errno)); }
int main(void) {
	setvbuf(stdout, 0, _IONBF, 0);
	try("dev", mount("dev", "/dev", "devtmpfs", 0, 0));
	FILE *order = fopen("/modules/order", "r");
	char name[100], path[150];
	while (order && fscanf(order, "%99s", name) == 1) {
		snprintf(path, sizeof path, "/modules/%s.ko", name);
		int fd = open(path, O_RDONLY);
		try(path, syscall(SYS_finit_module, fd, "", 0));
		close(fd);
	}
	for (int i = 0; i < 200 && access("/dev/vda", F_OK); i++) usleep(10000);
	try("root", mount("/dev/vda", "/ro", "erofs", MS_RDONLY, 0));
	try("chroot", chroot("/ro"));
	try("chdir", chdir("/"));
	try("proc", mount("proc", "/proc", "proc", 0, 0));
	if (!fork()) {
		char *argv[] = {"sh", "-c", "echo SHELL $(stat -c %a /tmp /root | tr '\\\\n' ' '); modprobe nfsv4 && grep -c ^nfsv4 /proc/modules; "
			"python3 -v -c 'import json' 2>&1 | grep -c 'bytecode is stale'; python3 -c 'import ssl; print(\\"PYTHON\\")'; echo END", 0};
		char *envp[] = {"PATH=/usr/bin:/usr/sbin", 0};
		execve("/bin/sh", argv, envp);
		try("sh", 1);
		_exit(1);
	}
	wait(0);
	reboot(RB_POWER_OFF);
}
`;

let scratch: string;
let recipe: ImageRecipe;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'caddis-image-test-'));
  const source = join(scratch, 'init.c');
  await writeFile(source, INIT);
  execFileSync('musl-gcc', ['-std=c11', '-O2', '-static', '-o', join(scratch, 'init'), source]);
  const programs = ['stat', 'tr', 'grep', 'modprobe', '/usr/bin/python3'];
  recipe = {
    root: { kind: 'programs', programs, paths: [] },
    guestPrograms: { initPath: join(scratch, 'init'), stubPath: join(scratch, 'init') },
  };
}, 30_000);

afterAll(() => rm(scratch, { recursive: true, force: true }));

test('the same inputs give the same image in two stores, and a changed one another', {
  timeout: 90_000,
}, async () => {
  const first = await buildImage(new ImageStore(join(scratch, 'one')), recipe, { name: 'test' });
  const second = await buildImage(new ImageStore(join(scratch, 'two')), recipe);
  expect(second.manifest.parts).toEqual(first.manifest.parts);
  expect(second.id).toBe(first.id);
  const more = { ...recipe, root: { kind: 'programs', programs: ['stat'], paths: [] } } satisfies ImageRecipe;
  expect((await buildImage(new ImageStore(join(scratch, 'one')), more)).id).not.toBe(first.id);
});

test('an image is built again only when an input changed', { timeout: 90_000 }, async () => {
  const store = new ImageStore(join(scratch, 'one'));
  const data = join(scratch, 'data');
  await writeFile(data, 'old');
  const watched = {
    ...recipe,
    root: { kind: 'programs', programs: ['stat'], paths: [data] },
  } satisfies ImageRecipe;
  const first = await ensureImage(store, watched, { name: 'watched' });
  const again = await ensureImage(store, watched, { name: 'watched' });
  await writeFile(data, 'newer');
  const changed = await ensureImage(store, watched, { name: 'watched' });
  expect([first.reused, again.reused, changed.reused]).toEqual([false, true, false]);
  expect(again.id).toBe(first.id);
  expect(changed.id).not.toBe(first.id);
  expect((await store.find('watched')).id).toBe(changed.id);
});

test('kernel, initramfs and root boot together and run programs', { timeout: 120_000 }, async () => {
  const { directory } = await ensureImage(new ImageStore(join(scratch, 'one')), recipe, { name: 'test' });
  const { stdout } = await execa('qemu-system-x86_64', qemuArguments(directory), {
    timeout: 90_000,
    stdin: 'ignore',
  });
  expect(stdout).not.toContain('FAILED');
  const lines = stdout.slice(stdout.indexOf('SHELL')).split(/\r?\n/);
  expect(lines.slice(0, 5)).toEqual(['SHELL 1777 700', '1', '0', 'PYTHON', 'END']);
});

function qemuArguments(directory: string): string[] {
  return [
    ...[
      '-accel',
      'tcg',
      '-M',
      'q35',
      '-cpu',
      'max',
      '-m',
      '384',
      '-nodefaults',
      '-display',
      'none',
      '-serial',
      'stdio',
    ],
    ...['-no-reboot', '-kernel', join(directory, 'vmlinux'), '-initrd', join(directory, 'initrd')],
    ...['-append', 'console=ttyS0 quiet loglevel=3 panic=-1 tsc=reliable no_timer_check'],
    ...['-drive', `file=${join(directory, 'root.erofs')},if=none,id=root,format=raw,readonly=on`],
    ...['-device', 'virtio-blk-pci,drive=root'],
  ];
}
