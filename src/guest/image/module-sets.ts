/**
 * Modules in the initramfs if src/guest/init/modules.txt is not there. Loaded at every boot, so only what every machine needs: each one
 * costs some 10 ms under TCG.
 */
export const BOOT_MODULES = [
  'virtio_pci',
  'virtio_blk',
  'virtio_console',
  'erofs',
  'overlay',
  'ext4',
  'virtio_mem',
  'virtio_balloon',
  'virtio_net',
  'virtio-rng',
] as const;

/** Without these a machine cannot reach its root or its agent: their absence from a kernel is an error, the others' a warning. */
export const REQUIRED_MODULES: readonly string[] = [
  'virtio_pci',
  'virtio_blk',
  'virtio_console',
  'erofs',
  'overlay',
];

/**
 * Modules in the root's /lib/modules, loaded when something asks for them (NFS at boot would cost 0.7 s, facts/vm.md): network file
 * systems, FUSE and autofs, loop and device mapper, the local file systems that a job may loop-mount, name tables, tunnels.
 * Those that a kernel does not have are left out.
 */
export const ROOT_MODULES = [
  'nfs',
  'nfsv3',
  'nfsv4',
  'nfs_layout_nfsv41_files',
  'nfs_layout_flexfiles',
  'rpcsec_gss_krb5',
  'ceph',
  'cifs',
  'fuse',
  'virtiofs',
  '9p',
  '9pnet_virtio',
  'autofs4',
  'loop',
  'dm-mod',
  'dm-crypt',
  'ext4',
  'xfs',
  'btrfs',
  'squashfs',
  'erofs',
  'isofs',
  'vfat',
  'nls_utf8',
  'nls_ascii',
  'nls_cp437',
  'tun',
  'veth',
  'bridge',
  'dummy',
  'virtio_net',
  'virtio_balloon',
  'virtio_mem',
  'virtio-rng',
  'nf_tables',
  'nft_ct',
  'binfmt_misc',
  'crc32c_generic',
  'sha256_generic',
  'cbc',
  'cts',
  'ecb',
  'hmac',
] as const;
