import { expect, test } from 'vitest';

import { parseModuleIndex, parseModuleList, selectModules } from '../../../src/guest/image/modules.ts';

const index = parseModuleIndex({
  dep: [
    'kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko',
    'kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko',
    'kernel/net/core/failover.ko:',
    'kernel/drivers/char/hw_random/virtio-rng.ko:',
    'kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko',
    'kernel/lib/libcrc32c.ko:',
    'kernel/crypto/crc32c_generic.ko:',
    'kernel/arch/x86/crypto/crc32c-intel.ko:',
  ].join('\n'),
  builtin: 'kernel/fs/ext4/ext4.ko\n',
  alias: 'alias crc32c crc32c_intel\nalias crc32c crc32c_generic\nalias virtio:d00000001v* virtio_net\n',
  softdep: '# Soft dependencies\nsoftdep libcrc32c pre: crc32c\n',
});
const names = (paths: readonly string[]) => paths.map((path) => path.replace(/.*\//, ''));

test('what a module needs is loaded before it', () => {
  expect(names(selectModules(index, ['virtio_net']).paths)).toEqual([
    'failover.ko',
    'net_failover.ko',
    'virtio_net.ko',
  ]);
});

test('soft dependencies by alias take the generic module, before their user', () => {
  expect(names(selectModules(index, ['erofs']).paths)).toEqual([
    'crc32c_generic.ko',
    'libcrc32c.ko',
    'erofs.ko',
  ]);
});

test('built-in modules need nothing, unknown ones are told', () => {
  expect(selectModules(index, ['ext4', 'virtio_rng', 'zfs'])).toEqual({
    paths: ['kernel/drivers/char/hw_random/virtio-rng.ko'],
    missing: ['zfs'],
  });
});

test('a list has comments', () => {
  expect(parseModuleList('# boot\nvirtio_blk # the root\n\nerofs\n')).toEqual(['virtio_blk', 'erofs']);
});
