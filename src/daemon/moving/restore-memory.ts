import { demandSame, type HashedFile, hashFile } from '../../checkpoint/hash.ts';
import type { StoreIo } from '../../checkpoint/io.ts';
import { makePipe, PIPE_MAX_BYTES, passOn } from '../../checkpoint/pass-on.ts';
import type { Domain } from '../../libvirt/index.ts';
import { type Hypervisor, unfit } from '../../vm/hypervisor.ts';

const RESTORE_TIMEOUT_MS = 30 * 60_000;

interface Image {
  readonly path: string;
  /** What the manifest says of it. */
  readonly saved: HashedFile;
  /** For a named pipe of this restore's own, on this node. */
  readonly pipePath: string;
  readonly xml: string;
  readonly name: string;
  readonly signal: AbortSignal;
  readonly progress: (doneBytes: number) => void;
  readonly say: (text: string) => void;
  /** Told after how many milliseconds QEMU had begun to read, all was read and hashed, and libvirt was done. */
  readonly took: (part: 'qemu' | 'read' | 'libvirt', ms: number) => void;
  /** Told of the machine as soon as it is there, whatever its image turns out to be. */
  readonly made: (domain: Domain) => void;
}

/**
 * Makes the machine of a memory image, standing still. The image is read from the store once: what caddisd reads it hashes and hands to libvirt through a pipe, so that what the machine is
 * made of is what was hashed. Throws CheckpointRefused when it was not what was saved, whatever libvirt made of it, and NodeUnfit when libvirt could not; the machine may be there then.
 */
export async function restoreMemory(hypervisor: Hypervisor, io: StoreIo, image: Image): Promise<void> {
  const pipe = await makePipe(image.pipePath);
  const { path, saved, signal, progress, took } = image;
  const gone = new AbortController();
  const begun = performance.now();
  try {
    const [restored, passed] = await Promise.allSettled([
      ask(hypervisor, pipe.path, image).finally(() => {
        took('libvirt', performance.now() - begun);
        gone.abort();
      }),
      passOn(io, path, pipe, {
        ...{ signal, progress, gone: gone.signal },
        begun: () => took('qemu', performance.now() - begun),
      })
        .then((found) => {
          took('read', performance.now() - begun);
          demandSame(path, found, saved);
          if (found.bytes > PIPE_MAX_BYTES) pipe.writer.destroy();
          return found.passed;
        })
        .catch((error: unknown) => {
          // QEMU sees the end, and does not wait for the rest.
          pipe.writer.destroy();
          throw error;
        }),
    ]);
    // What the image is, counts before what libvirt makes of it.
    if (passed.status === 'rejected') throw passed.reason;
    if (restored.status === 'fulfilled') return;
    signal.throwIfAborted();
    if (passed.value === saved.bytes) throw unfit('libvirt could not restore the machine', restored.reason);
    image.say(`libvirt does not read its image from a pipe: ${restored.reason.message}; from the file`);
  } finally {
    await pipe.close();
  }
  await fromFile(hypervisor, io, image);
}

/** For a libvirt that wants a regular file: the image is read twice. */
async function fromFile(hypervisor: Hypervisor, io: StoreIo, image: Image): Promise<void> {
  const { path, saved, signal, progress } = image;
  const [restored, hashed] = await Promise.allSettled([
    ask(hypervisor, path, image),
    hashFile(io, path, { signal, progress }).then((found) => demandSame(path, found, saved)),
  ]);
  if (hashed.status === 'rejected') throw hashed.reason;
  if (restored.status === 'rejected') throw unfit('libvirt could not restore the machine', restored.reason);
}

async function ask(hypervisor: Hypervisor, from: string, { xml, name, signal, made }: Image): Promise<void> {
  made(await hypervisor.restore(from, xml, name, { timeoutMs: RESTORE_TIMEOUT_MS, signal }));
}
