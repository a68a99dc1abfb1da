import { open } from 'node:fs/promises';

const MAGIC = 'LibvirtQemudSave';
/** After the magic: version, length of the XML, whether it ran, format (facts/vm.md: "Clones"). Format 0 is raw: what QEMU has written into a pipe. */
const FORMAT_AT = MAGIC.length + 3 * 4;
const HEADER_BYTES = FORMAT_AT + 4;

/** Whether a whole image of libvirt was written from front to back but for its header, as a stream is. One in another format (`snapshot_image_format` in qemu.conf) need not be. */
export async function isStream(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
    return (
      bytesRead === HEADER_BYTES &&
      buffer.toString('latin1', 0, MAGIC.length) === MAGIC &&
      buffer.readUInt32LE(FORMAT_AT) === 0
    );
  } finally {
    await file.close();
  }
}
